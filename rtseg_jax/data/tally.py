"""What a split holds: sizes, pixels by class, and how many pictures a class occurs in."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64, UInt8

from rtseg_jax.data.dataset import DatasetInfo, Size
from rtseg_jax.labels import IGNORE

VALUES = 256
"""Of a decoded label: classes and 255."""


def pixel_counts(label: UInt8[np.ndarray, "h w"]) -> Int64[np.ndarray, "256"]:
    """Pixels of each value."""
    return np.bincount(label.ravel(), minlength=VALUES).astype(np.int64)


@dataclass
class Tally:
    """Sums over examples; they do not grow with their number.

    Attributes:
      sizes: pictures of each (height, width).
      pixels: of each class; number 255 are the ignored ones.
      pictures: in which each class occurs.
    """

    sizes: Counter[Size] = field(default_factory=Counter)
    pixels: Int64[np.ndarray, "256"] = field(default_factory=lambda: np.zeros(VALUES, np.int64))
    pictures: Int64[np.ndarray, "256"] = field(default_factory=lambda: np.zeros(VALUES, np.int64))

    def add(self, size: Size, pixels: Int64[np.ndarray, "256"]) -> None:
        """One more example."""
        self.sizes[size] += 1
        self.pixels += pixels
        self.pictures += pixels > 0

    @property
    def number(self) -> int:
        """Examples that were added."""
        return sum(self.sizes.values())

    @property
    def ignored_share(self) -> float:
        """Share of all pixels that are neither learned from nor scored."""
        return float(self.pixels[IGNORE] / max(1, self.pixels.sum()))

    def of_classes(self, info: DatasetInfo) -> Int64[np.ndarray, " k"]:
        """Pixels of each class."""
        return self.pixels[: info.num_classes]

    def absent(self, info: DatasetInfo) -> tuple[str, ...]:
        """Classes without a pixel."""
        return tuple(name for name, count in zip(info.class_names, self.of_classes(info), strict=True) if not count)

    def line(self, info: DatasetInfo) -> str:
        """The most that one line can say."""
        absent = self.absent(info)
        found = f"all {info.num_classes} classes occur"
        if absent:
            found = f"{len(absent)} of {info.num_classes} classes never occur, their IoU is undefined: "
            found += ", ".join(absent)
        ignored = f"{100 * self.ignored_share:.1f} % of pixels ignored"
        return f"{self.number} pictures, {self.size_line()}, {ignored}; {found}"

    def size_line(self) -> str:
        """Height x width where all are of one size, else how many sizes and their range."""
        if not self.sizes:
            return "no size"
        if len(self.sizes) == 1:
            height, width = next(iter(self.sizes))
            return f"{height}x{width}"
        heights, widths = zip(*self.sizes, strict=True)
        return f"{len(self.sizes)} sizes from {min(heights)}x{min(widths)} to {max(heights)}x{max(widths)}"

    def shapes(self) -> dict[str, int]:
        """Pictures by how they stand."""
        result = {"landscape": 0, "portrait": 0, "square": 0}
        for (height, width), count in self.sizes.items():
            result["landscape" if width > height else "portrait" if height > width else "square"] += count
        return result
