"""SqueezeNAS XL, L and S (Shaw et al. 2019), the networks that its searches found, after the authors' PyTorch code."""

import abc
import dataclasses
import re
from collections.abc import Mapping
from typing import ClassVar

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.errors import UserError

RATES = (6, 12, 18)
"""Dilations of XL's spatial pyramid."""

POOL_WINDOW = 49
POOL_STRIDE = (16, 20)
"""Of the means that gate the head of L and S; the window is cut where the map is smaller."""


@dataclasses.dataclass(frozen=True)
class SqueezeNAS(NetworkSpec):
    """A network that was searched for.

    `found` has, by what was searched for, the blocks of each row: kernel/expansion, then groups of the 1×1s and
    dilation where they are not 1; - is no block, but for a 1×1 convolution where the shape changes.

    Attributes:
      searched_for: which of the networks: `latency`, or `macs` for fewest multiply-accumulates.
    """

    stem: ClassVar[int]
    rows: ClassVar[tuple[tuple[int, int], ...]]
    """Channels, stride of the first block."""

    found: ClassVar[Mapping[str, tuple[str, ...]]]
    skip_row: ClassVar[int]
    """Number, from 0, of the row that the head reads besides the last."""

    searched_for: str = "latency"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.searched_for not in self.found:
            raise UserError(f"network.searched_for is {self.searched_for!r}: there are {', '.join(self.found)}")

    def declare(self) -> Network:
        """Inverted residuals to 1/16, and a head that reads a finer map too."""
        n = Sketch(self.num_classes)
        x = n.block("stem", "stem", "encoder").conv("conv", n.image, self.stem, stride=2, activation="relu")
        maps = []
        for row, ((channels, stride), found) in enumerate(
            zip(self.rows, self.found[self.searched_for], strict=True), start=1
        ):
            for i, choice in enumerate(found.split(), start=1):
                step = stride if i == 1 else 1
                if choice == "-" and x.channels == channels and step == 1:
                    continue
                b = n.block(f"row{row}_{i}", "no_block" if choice == "-" else "searched_residual", "encoder")
                x = adapted(b, x, channels) if choice == "-" else inverted_residual(b, x, choice, channels, step)
            maps.append(x)
        self.head(n, maps[self.skip_row], x)
        return n.network()

    @abc.abstractmethod
    def head(self, n: Sketch, fine: Tensor, deep: Tensor) -> None:
        """From the last map and a finer one to the logits."""


@dataclasses.dataclass(frozen=True)
class SqueezeNASXL(
    SqueezeNAS,
    name="squeezenas_xl",
    published=Published(
        "SqueezeNAS-XL",
        "Shaw et al. 2019",
        "ML",
        "XL, searched for latency",
        (
            Score("Cityscapes", "val", 75.2, "survey", pretrained=True),
            Score("Cityscapes", "val", 75.06, "authors", pretrained=True),
        ),
        speeds=survey_speeds(48.3, 168.6, 239.1, 40.2),
    ),
):
    """SqueezeNAS-XL."""

    stem = 48
    rows = ((24, 1), (32, 2), (48, 2), (96, 2), (144, 1), (240, 1), (320, 1))
    found: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "latency": (
            "-",
            "3/3 3/3 3/3 3/1d2",
            "3/6 3/3 5/6 5/1g2",
            "5/6 3/6 3/1g2d2 3/6",
            "5/6 3/3d2 3/1g2d2 3/3",
            "3/6d2 3/3d2 5/1 3/3d2",
            "3/6d2",
        ),
        "macs": (
            "3/1g2",
            "3/3 3/1g2 5/1 3/3d2",
            "5/6 5/1g2 3/1g2d2 3/3",
            "5/6 3/3 - 3/1g2d2",
            "5/6 3/1 5/6 -",
            "3/6d2 3/1g2d2 3/1g2d2 3/1g2d2",
            "3/3d2",
        ),
    }
    skip_row = 1

    def head(self, n: Sketch, fine: Tensor, deep: Tensor) -> None:
        """Spatial pyramid, a map at 1/4 beside it."""
        y = atrous_pyramid(n.block("pyramid", "atrous_pyramid", "head"), deep, 160)
        b = n.block("head", "head", "head")
        skip = b.conv("skip", fine, fine.channels, kernel=1, bias=True, norm=False)
        y = b.concat("concat", b.resize("up", y, fine, align_corners=True), skip)
        y = n.classifier(b, b.conv("depthwise", y, activation="relu"))
        b.resize("logits", y, n.image, align_corners=True)


class GatedHead(SqueezeNAS):
    """The head of L and S."""

    def head(self, n: Sketch, fine: Tensor, deep: Tensor) -> None:
        """The deep map gated by its means over large windows, and the map at 1/8."""
        b = n.block("head", "gated_head", "head")
        y = b.conv("mix", deep, 128, kernel=1, activation="relu")
        gate = b.pool("pool", deep, "average", window=POOL_WINDOW, stride=POOL_STRIDE, padding="VALID", cut=True)
        gate = b.conv("gate", gate, 128, kernel=1, bias=True, norm=False, activation="sigmoid")
        y = b.gate("gated", y, b.resize("gate_up", gate, y), None)
        y = n.classifier(b, b.resize("up", y, fine))
        z = b.conv("skip", fine, y.groups, kernel=1, bias=True, norm=False)
        b.resize("logits", b.sum("sum", y, z), n.image, align_corners=True)


@dataclasses.dataclass(frozen=True)
class SqueezeNASL(
    GatedHead,
    name="squeezenas_l",
    published=Published("SqueezeNAS-L", "Shaw et al. 2019", "ML", "L, searched for latency"),
):
    """SqueezeNAS-L."""

    stem = 16
    rows = ((16, 1), (24, 2), (32, 2), (64, 2), (96, 1), (160, 1), (160, 1))
    found: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "latency": (
            "-",
            "3/6 3/3 3/1d2 3/3",
            "5/6 3/6 3/3 3/6d2",
            "5/6 5/1 5/1 5/1g2",
            "3/6d2 3/6d2 3/6d2 3/1",
            "3/6d2 3/6d2 3/6d2 3/6d2",
            "3/6d2",
        ),
        "macs": (
            "3/1g2",
            "3/6 3/1g2d2 3/1g2 3/1g2",
            "5/6 5/6 3/6d2 5/6",
            "5/6 5/6 5/1 3/3",
            "5/6 3/1 5/1 3/3d2",
            "3/6d2 3/1g2d2 3/1g2d2 3/1g2d2",
            "3/1d2",
        ),
    }
    skip_row = 2


@dataclasses.dataclass(frozen=True)
class SqueezeNASS(
    GatedHead,
    name="squeezenas_s",
    published=Published("SqueezeNAS-S", "Shaw et al. 2019", "ML", "S, searched for latency"),
):
    """SqueezeNAS-S."""

    stem = 16
    rows = ((16, 2), (24, 2), (40, 2), (48, 1), (96, 1))
    found: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "latency": (
            "3/1 - - -",
            "3/6 3/6 - -",
            "5/6 3/6d2 5/1g2 3/1g2",
            "3/6d2 3/6d2 3/6d2 3/1d2",
            "3/6d2 3/3d2 3/3d2 3/3d2",
        ),
        "macs": (
            "3/1g2 3/1 3/1 3/1g2",
            "5/6 3/1 3/1 3/1g2d2",
            "5/6 3/6d2 - 3/1g2",
            "5/6 3/3d2 3/1d2 3/1d2",
            "3/6d2 3/1g2d2 3/1g2d2 3/1g2d2",
        ),
    }
    skip_row = 1

    def head(self, n: Sketch, fine: Tensor, deep: Tensor) -> None:
        """One convolution more."""
        b = n.block("last", "pointwise", "encoder")
        super().head(n, fine, b.conv("conv", deep, 256, kernel=1, activation="relu"))


def inverted_residual(b: Builder, x: Tensor, choice: str, channels: int, stride: int) -> Tensor:
    """Expansion, depthwise, projection as `SqueezeNAS.found` has them, plus the input where the shape stays."""
    kernel, expansion, groups, dilation = parsed(choice)
    y = b.conv("expand", x, x.channels * expansion, kernel=1, groups=groups, activation="relu")
    y = b.conv("depthwise", y, kernel=kernel, stride=stride, dilation=dilation, activation="relu")
    y = b.conv("project", y, channels, kernel=1, groups=groups)
    return b.sum("sum", x, y) if stride == 1 and x.channels == channels else y


def parsed(choice: str) -> tuple[int, int, int, int]:
    """Kernel, expansion, groups, dilation."""
    found = re.fullmatch(r"(\d)/(\d)(?:g(\d))?(?:d(\d))?", choice)
    if found is None:
        raise ValueError(f"{choice!r} is no block")
    kernel, expansion, groups, dilation = (int(digit or 1) for digit in found.groups())
    return kernel, expansion, groups, dilation


def adapted(b: Builder, x: Tensor, channels: int) -> Tensor:
    """What stands for no block where channels change."""
    return b.conv("conv", b.activate("relu", x, "relu"), channels, kernel=1)


def atrous_pyramid(b: Builder, x: Tensor, channels: int) -> Tensor:
    """A 1×1, three dilated convolutions of as many groups as they have outputs, and the mean, mixed."""
    levels = [b.conv("conv_1", x, channels, kernel=1, activation="relu")]
    for rate in RATES:
        y = b.conv(f"conv_{rate}", x, channels, groups=channels, dilation=rate, activation="relu")
        levels.append(y)
    levels.append(b.resize("mean_up", b.mean("mean", x), x, "nearest"))
    return b.conv("mix", b.concat("concat", *levels), channels, kernel=1, activation="relu")
