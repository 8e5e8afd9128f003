"""PASCAL VOC 2012 at 513×513.

    launch/gpu.sh --config=configs/voc2012.py --config.data.data_dir=VOC2012 --workdir=WORKDIR

VOC2012 is the unpacked folder or VOCtrainval_11-May-2012.tar: 1,464 pictures to train on, 1,449 to score. With SBD's
masks beside them (docs/data.md), --config.data.train_split=trainaug trains on 10,582.

Hardware: 8 GPUs, 8 pictures each.
Time and validation mIoU: not yet measured (nor published).
"""

import ml_collections

from rtseg_jax.config import base_config


def get_config() -> ml_collections.ConfigDict:
    config = base_config()
    config.data.name = "voc2012"
    config.data.train_size = config.data.eval_size = (513, 513)
    config.data.base_size = (0, 0)
    config.train.learning_rate = 0.01
    return config
