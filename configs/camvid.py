"""CamVid at 360×480 with a small supernet, for two CPU cores.

    python -m rtseg_jax.main --config=configs/camvid.py --config.data.data_dir=CAMVID --workdir=WORKDIR

Hardware: 2 CPU cores.
Time: at most 75 minutes; not yet measured.
Validation mIoU: not yet measured.
"""

import ml_collections

from rtseg_jax.config import base_config


def get_config() -> ml_collections.ConfigDict:
    config = base_config()
    config.data.name = "camvid"
    config.data.train_size = (256, 352)
    config.data.eval_size = (360, 480)
    config.data.base_size = (0, 0)
    config.data.scale_range = (0.5, 1.5)

    config.network.width = 0.5

    config.train.batch_size = 8
    config.train.pretrain_steps = 1_200
    config.train.search_steps = 400
    config.train.finetune_steps = 600
    for rate in ("learning_rate", "search_learning_rate", "finetune_learning_rate"):
        config.train[rate] = 0.05
    config.train.recalibration_batches = 20
    config.train.log_every = 20
    config.train.eval_every = 400
    config.train.checkpoint_every = 200
    config.train.num_threads = 2

    config.latency.num_blocks = 120
    config.latency.num_networks = 16
    return config
