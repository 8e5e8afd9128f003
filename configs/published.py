"""The search, schedule and losses as RTSeg published them, on Cityscapes at 512×1024.

    launch/gpu.sh --config=configs/published.py --config.data.data_dir=CITYSCAPES --workdir=WORKDIR

Hardware: 8 GPUs, 8 pictures each.
Time: not yet measured (published: 0.7 GPU-days of search, the supernet's training not counted).
Validation mIoU: not yet measured (published: supernet 79.1; searched 75.3, 74.4 and 73.1 at 20.8, 9.2 and 5.7 GMACs).
"""

import ml_collections

from rtseg_jax.config import base_config


def get_config() -> ml_collections.ConfigDict:
    config = base_config()
    config.search.rule = "published"
    config.search.literal = True  # β constant, on |Σ latency − target|; raw steps
    config.search.path_rate = 0.1  # not published
    config.train.restarts = True
    config.train.pretrain_steps = 160_000
    config.train.search_steps = 40_000
    config.train.finetune_steps = 40_000
    config.loss.lam = 0.001
    config.data.held_out = 0.0
    return config
