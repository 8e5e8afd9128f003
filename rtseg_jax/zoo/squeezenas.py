"""SqueezeNAS-XL (Shaw et al. 2019), the networks that its search found, after the authors' PyTorch code."""

import dataclasses
import re

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.errors import UserError

STEM = 48
ROWS = ((24, 1), (32, 2), (48, 2), (96, 2), (144, 1), (240, 1), (320, 1))
"""Channels, stride of the first block."""

FOUND = {
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
"""By what was searched for, the blocks of each row: kernel/expansion, then groups of the 1×1s and dilation where they
are not 1; - is no block, but for a 1×1 convolution where the shape changes."""

SKIP_ROW = 2
HEAD_CHANNELS = 160
RATES = (6, 12, 18)

PUBLISHED = Published(
    "SqueezeNAS-XL",
    "Shaw et al. 2019",
    "ML",
    "XL, searched for latency",
    (Score("Cityscapes", "val", 75.2, "survey"), Score("Cityscapes", "val", 75.06, "authors")),
)


@dataclasses.dataclass(frozen=True)
class SqueezeNASXL(NetworkSpec, name="squeezenas_xl", published=PUBLISHED):
    """SqueezeNAS-XL.

    Attributes:
      searched_for: which of the networks: `latency`, or `macs` for fewest multiply-accumulates.
    """

    searched_for: str = "latency"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.searched_for not in FOUND:
            raise UserError(f"network.searched_for is {self.searched_for!r}: there are {', '.join(FOUND)}")

    def declare(self) -> Network:
        """Inverted residuals to 1/16, spatial pyramid, a map at 1/4 beside it."""
        n = Sketch(self.num_classes)
        x = n.block("stem", "stem", "encoder").conv("conv", n.image, STEM, stride=2, activation="relu")
        maps = []
        for row, ((channels, stride), found) in enumerate(zip(ROWS, FOUND[self.searched_for], strict=True), start=1):
            for i, choice in enumerate(found.split(), start=1):
                step = stride if i == 1 else 1
                if choice == "-" and x.channels == channels and step == 1:
                    continue
                b = n.block(f"row{row}_{i}", "no_block" if choice == "-" else "searched_residual", "encoder")
                x = adapted(b, x, channels) if choice == "-" else inverted_residual(b, x, choice, channels, step)
            maps.append(x)
        b = n.block("pyramid", "atrous_pyramid", "head")
        y = atrous_pyramid(b, x)
        b = n.block("head", "head", "head")
        fine = maps[SKIP_ROW - 1]
        skip = b.conv("skip", fine, fine.channels, kernel=1, bias=True, norm=False)
        y = b.concat("concat", b.resize("up", y, fine, align_corners=True), skip)
        x = n.classifier(b, b.conv("depthwise", y, activation="relu"))
        b.resize("logits", x, n.image, align_corners=True)
        return n.network()


def inverted_residual(b: Builder, x: Tensor, choice: str, channels: int, stride: int) -> Tensor:
    """Expansion 1×1, depthwise, projection 1×1, as a row of `FOUND` writes it; plus the input where the shape stays."""
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


def atrous_pyramid(b: Builder, x: Tensor) -> Tensor:
    """A 1×1, three dilated convolutions of as many groups as they have outputs, and the mean, mixed."""
    levels = [b.conv("conv_1", x, HEAD_CHANNELS, kernel=1, activation="relu")]
    for rate in RATES:
        y = b.conv(f"conv_{rate}", x, HEAD_CHANNELS, groups=HEAD_CHANNELS, dilation=rate, activation="relu")
        levels.append(y)
    levels.append(b.resize("mean_up", b.mean("mean", x), x, "nearest"))
    return b.conv("mix", b.concat("concat", *levels), HEAD_CHANNELS, kernel=1, activation="relu")
