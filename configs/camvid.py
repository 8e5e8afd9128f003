"""CamVid at 352×480 with a small supernet, for two CPU cores.

    python -m rtseg_jax.main --config=configs/camvid.py --config.data.data_dir=CAMVID --workdir=WORKDIR \
        --cpu_devices=2

Hardware: 2 CPU cores.
Time and validation mIoU: docs/results.md.
"""

import ml_collections

from rtseg_jax.config import base_config


def get_config() -> ml_collections.ConfigDict:
    config = base_config()
    config.data.name = "camvid"
    config.data.train_size = (224, 320)
    config.data.eval_size = (352, 480)  # 360 is odd at 1/8: no crop of a height divisible by 16 would fit it
    config.data.base_size = (0, 0)
    config.data.scale_range = (0.5, 1.5)

    config.network.width = 0.625
    config.network.segment_blocks = (1, 1, 2)
    # What costs next to nothing may grow, and what the search never keeps need not be trained.
    config.network.stem_width, config.network.stage_widths, config.network.head_channels = 2.0, (2.0, 2.0, 2.0), 512
    config.network.head_width = 16
    config.network.auxiliary_channels = 32

    config.batch_size = 8
    config.train.pretrain_steps = 64
    config.train.search_steps = 80
    config.train.finetune_steps = 1616
    config.train.learning_rate = 0.05
    config.train.warmup_steps = 20
    config.train.log_every = 20
    config.train.eval_every = 400
    config.train.checkpoint_every = 100
    config.train.num_threads = 2
    config.train.tensorboard = False  # spares the memory and the start of TensorFlow

    # 1 / ln(1.1 + share of training pixels): ENet's weights, softened, in the order of the classes
    config.loss.class_weights = (4.20, 3.48, 9.60, 2.87, 7.39, 5.56, 9.44, 9.48, 6.79, 9.89, 10.21)

    config.latency.target_fraction = 0.4  # of the supernet
    config.latency.num_blocks = 80
    config.latency.num_networks = 16
    config.latency.num_unseen = 8
    return config
