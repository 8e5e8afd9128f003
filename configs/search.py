"""The published supernet on Cityscapes at 512×1024, searched by worth per millisecond.

    launch/gpu.sh --config=configs/search.py --config.data.data_dir=CITYSCAPES --workdir=WORKDIR

Hardware: 8 GPUs, 8 pictures each. Elsewhere set batch_size; train.accumulate makes up for a smaller one.
Time and validation mIoU: not yet measured. `configs/published.py` has the search, schedule and losses of the paper.
"""

import ml_collections

from rtseg_jax.config import base_config


def get_config() -> ml_collections.ConfigDict:
    return base_config()
