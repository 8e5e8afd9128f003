"""Synthetic streets: drawn pictures with exact labels, a pure function of (seed, split, index)."""

import numpy as np

from rtseg_jax.data.class_file import shipped_info
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Description, Example, Size
from rtseg_jax.data.street_look import photograph
from rtseg_jax.data.street_scene import draw_street
from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE

_CAMVID = shipped_info("camvid")
SYNTHETIC_STREETS = DatasetInfo("synthetic_streets", _CAMVID.class_names, _CAMVID.palette)

_SPLITS = {"train": 0, "validation": 1}


def streets_info(spec: DataSpec) -> DatasetInfo:
    """The drawn classes, or the first `spec.num_classes` of them."""
    info, most = SYNTHETIC_STREETS, SYNTHETIC_STREETS.num_classes
    count = most if spec.num_classes is None else spec.num_classes
    if not 2 <= count <= most:
        raise UserError(f"synthetic_streets has 2 to {most} classes, not num_classes={count}")
    return DatasetInfo(info.name, info.class_names[:count], info.palette[:count])


class StreetSource:
    """`count` streets of (height, width), drawn when they are read. Ids at or above `num_classes` wrap around."""

    def __init__(self, count: int, size: Size, seed: int, split: str, num_classes: int):
        self._count, self._size, self._seed, self._split = count, size, seed, _SPLITS[split]
        self._wrap = np.arange(256, dtype=np.uint8)
        self._wrap[:IGNORE] %= num_classes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._count:
            raise IndexError(f"street {index} of {self._count}")
        rng = np.random.default_rng([self._seed, self._split, index])
        canvas = draw_street(self._size, rng)
        return {"image": photograph(canvas, rng), "label": self._wrap[canvas.label]}

    def describe(self, index: int) -> Description:
        """Its number; there are no files."""
        return Description(f"street {index}")

    def fingerprint(self) -> None:
        """None: there are no files that could change."""
