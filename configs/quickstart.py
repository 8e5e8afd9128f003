"""Every phase on drawn streets at 128×256, small enough to watch.

    launch/quickstart.sh WORKDIR

Hardware: 2 CPU cores.
Time, memory and validation mIoU: docs/results.md.
"""

import ml_collections

from rtseg_jax.config import base_config


def get_config() -> ml_collections.ConfigDict:
    config = base_config()
    config.data.name = "synthetic_streets"
    config.data.train_size = config.data.eval_size = config.data.base_size = (128, 256)
    config.data.scales = (0.75, 1.0, 1.5)
    config.data.num_train = 400
    config.data.num_validation = 40

    config.network.width = 0.5
    config.network.segment_blocks = (1, 1, 1)
    # What costs next to nothing may grow, and what the search never keeps need not be trained.
    config.network.stem_width, config.network.stage_widths, config.network.head_channels = 2.0, (2.0, 2.0, 2.0), 512
    config.network.auxiliary_channels = 32

    config.batch_size = 8
    config.train.pretrain_steps = 40
    config.train.search_steps = 50
    config.train.finetune_steps = 410
    config.train.log_every = 10
    config.train.eval_every = 0
    config.train.checkpoint_every = 60
    config.train.num_threads = 2

    config.loss.beta = 0.2  # of the published rule: about what a millisecond of this fast device is worth

    config.latency.target_fraction = 0.2  # of the supernet; at 0.3 the search wins less often: docs/results.md
    config.latency.num_blocks = 40
    config.latency.num_networks = 12
    config.latency.num_unseen = 8
    return config
