"""ADE20K at 512×512, 150 classes.

    launch/gpu.sh --config=configs/ade20k.py --config.data.data_dir=ADE20K --workdir=WORKDIR

ADE20K is the folder ADEChallengeData2016 or its zip: 20,210 pictures to train on, 2,000 to score.

Hardware: 8 GPUs, 8 pictures each.
Time: not yet measured.
Validation mIoU: not yet measured (published: searched 38.7 at 10.5 GMACs).
"""

import ml_collections

from rtseg_jax.config import base_config


def get_config() -> ml_collections.ConfigDict:
    config = base_config()
    config.data.name = "ade20k"
    config.data.train_size = config.data.eval_size = (512, 512)
    config.data.base_size = (0, 0)
    return config
