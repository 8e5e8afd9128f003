"""FasterSeg (Chen et al. 2020): the searched student network that the authors released, as it is deployed.

A *zoom* cell halves its map, convolves it and restores it; one with stride leaves out the restoring.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.extents import Scaled
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch


@dataclasses.dataclass(frozen=True)
class Cell:
    """Convolutions of 3×3 and their channels, at half the size where `zoom`."""

    channels: int
    convolutions: int = 2
    zoom: bool = True
    stride: int = 1


STEM = (Cell(32, 1, zoom=False, stride=2), Cell(64, zoom=False, stride=2), Cell(64, zoom=False, stride=2))
SHARED = (Cell(32, zoom=False), Cell(32, zoom=False), Cell(32))
DEEP = ((Cell(128, 1, stride=2), Cell(64), Cell(64), Cell(64)), (Cell(128, stride=2), Cell(128), Cell(256)))
SHALLOW = ((Cell(32), Cell(32, zoom=False)), (Cell(64, zoom=False, stride=2), Cell(64), Cell(192), Cell(128)))

PUBLISHED = Published(
    "FasterSeg",
    "Chen et al. 2020",
    "ML",
    "the authors' student network, deployed: without what only training reads",
    (
        Score("Cityscapes", "val", 73.1, "survey"),
        Score("Cityscapes", "test", 71.5, "survey"),
        Score("CamVid", "test", 71.1, "survey"),
    ),
    speeds=survey_speeds(174.3, 293.3, 294.1, 78.8),
)


@dataclasses.dataclass(frozen=True)
class FasterSeg(NetworkSpec, name="fasterseg", published=PUBLISHED):
    """FasterSeg's student."""

    def declare(self) -> Network:
        """A shared trunk at 1/8, a branch to 1/32 and one to 1/16, both brought back and fused."""
        n = Sketch(self.num_classes)
        x = cells(n, "stem", n.image, STEM)
        eighth = cells(n, "shared", x, SHARED)
        deep_16 = cells(n, "deep_16", eighth, DEEP[0])
        deep = cells(n, "deep_32", deep_16, DEEP[1])
        shallow_8 = cells(n, "shallow_8", eighth, SHALLOW[0])
        shallow = cells(n, "shallow_16", shallow_8, SHALLOW[1])
        deep = fused(n.block("deep_fusion_1", "fasterseg_fusion", "fusion"), deep, deep_16, 128)
        deep = fused(n.block("deep_fusion_2", "fasterseg_fusion", "fusion"), deep, eighth, 64)
        shallow = fused(n.block("shallow_fusion", "fasterseg_fusion", "fusion"), shallow, shallow_8, 64)
        b = n.block("head", "fasterseg_head", "head")
        x = b.conv("mix", b.concat("concat", deep, shallow), 128, kernel=1, activation="relu")
        x = n.classifier(b, b.conv("conv", x, 128, activation="relu"))
        b.resize("logits", x, n.image, align_corners=True)
        return n.network()


def cells(n: Sketch, part: str, x: Tensor, row: tuple[Cell, ...]) -> Tensor:
    """One cell after the other."""
    for i, cell in enumerate(row, start=1):
        kind = f"fasterseg_{'zoom_' if cell.zoom else ''}{cell.convolutions}x"
        x = convolved(n.block(f"{part}_{i}", kind, part), x, cell)
    return x


def convolved(b: Builder, x: Tensor, cell: Cell) -> Tensor:
    """A cell; what restores the size stands before the last ReLU."""
    y = b.resize("half", x, Scaled(1, 2), align_corners=True) if cell.zoom else x
    stride, restored = (1, cell.stride == 1) if cell.zoom else (cell.stride, False)
    for i in range(1, cell.convolutions + 1):
        inner = restored and i == cell.convolutions
        y = b.conv(f"conv_{i}", y, cell.channels, stride=stride if i == 1 else 1, activation=None if inner else "relu")
    return b.activate("relu", b.resize("restored", y, x, align_corners=True), "relu") if restored else y


def fused(b: Builder, low: Tensor, high: Tensor, channels: int) -> Tensor:
    """The deep map, enlarged, beside the shallow one, and mixed."""
    low = b.conv("low", low, channels, kernel=1, activation="relu")
    both = b.concat("concat", b.resize("up", low, high, align_corners=True), high)
    return b.conv("conv", both, channels, activation="relu")
