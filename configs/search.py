"""The paper's recipe: Cityscapes at 512×1024.

    launch/gpu.sh --config=configs/search.py --config.data.data_dir=CITYSCAPES --workdir=WORKDIR

Hardware: 8 GPUs, 8 pictures each. Elsewhere set batch_size; train.accumulate makes up for a smaller one.
Time: not yet measured (published: 0.7 GPU-days of search, the supernet's training not counted).
Validation mIoU: not yet measured (published: supernet 79.1; searched 75.3, 74.4 and 73.1 at 20.8, 9.2 and 5.7 GMACs).
"""

import ml_collections

from rtseg_jax.config import base_config


def get_config() -> ml_collections.ConfigDict:
    return base_config()
