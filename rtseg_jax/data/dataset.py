"""What a data set is: its classes, one example, random-access sources, and the spec that asks for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from rtseg_jax.errors import UserError

Size = tuple[int, int]
"""(height, width) in pixels."""

Real = float | int


class Example(TypedDict):
    """One picture with its label; both of one size, 255 = ignored."""

    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]


@dataclass(frozen=True)
class DatasetInfo:
    """Name, class names in id order and one RGB colour per class."""

    name: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __post_init__(self):
        if len(self.class_names) != len(self.palette):
            raise ValueError(f"{self.name}: {len(self.class_names)} names but {len(self.palette)} colours")

    @property
    def num_classes(self) -> int:
        """Number of classes, without the ignored label."""
        return len(self.class_names)


@runtime_checkable
class Source(Protocol):
    """Examples by index. Reading one must not depend on what was read before, and must be safe from threads."""

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def __getitem__(self, index: int) -> Example:
        """The example number `index`, 0 ≤ index < len."""
        ...


@dataclass(frozen=True)
class Dataset:
    """A data set ready to be read."""

    info: DatasetInfo
    train: Source
    validation: Source


@dataclass(frozen=True)
class DataSpec:
    """Which data set, and how its pictures are prepared. Sizes are (height, width) in pixels.

    Scales are relative to `base_size`, or to each picture's own size where that is None. Jitter strengths are the
    largest relative change: 0.4 multiplies by a factor from 0.6 to 1.4. `num_*` and `seed` describe drawn pictures
    only; they are drawn at `base_size`, or at `eval_size` where that is None.
    """

    name: str
    data_dir: str | None = None
    train_size: Size = (512, 1024)  # the crop
    eval_size: Size = (512, 1024)  # network input at evaluation; labels keep their own size
    base_size: Size | None = None  # pictures are resized to this before random scaling; None: not resized
    scales: Sequence[Real] = (0.5, 0.75, 1.0, 2.0)  # one is picked for each picture
    scale_range: tuple[Real, Real] | None = None  # if given, replaces `scales` by a log-uniform draw
    flip: bool = True  # left-right, one picture in two
    brightness: Real = 0.0
    contrast: Real = 0.0
    saturation: Real = 0.0
    augment_on: str = "host"  # or "device": drawn by the host all the same, applied inside the jitted step
    cache_gib: Real = 1.0  # decoded pictures of each split that a process keeps in memory, GiB; 0: none
    stand_in: bool = False
    """Serve procedurally drawn pictures with labels wrapped into the data set's classes; for trying a config without
    data. Scores mean nothing, and a class beyond the drawn ones never appears."""
    num_train: int = 1000
    num_validation: int = 100
    num_classes: int | None = None  # of synthetic_streets; None: all it draws. Fewer: ids wrap around.
    seed: int = 0

    def __post_init__(self):
        if self.augment_on not in ("host", "device"):
            raise UserError(f"config.data.augment_on is {self.augment_on!r}: it must be host or device")
        if self.cache_gib < 0:
            raise UserError(f"config.data.cache_gib is {self.cache_gib}: it must be at least 0; 0 keeps nothing")

    @property
    def drawn_size(self) -> Size:
        """Size at which procedural pictures are drawn."""
        return self.base_size or self.eval_size
