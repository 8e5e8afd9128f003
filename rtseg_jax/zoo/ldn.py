"""LDN (Krešo et al. 2021): a ladder on DenseNet-121, the variant from 1/64 to 1/4, after the authors' PyTorch code.

The stem is ImageNet's; the authors' networks that are trained from nothing leave out some of its norms.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.extents import Rows
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.resnet import preactivated

DENSE = ((6, True), (12, True), (12, False), (12, True), (16, False))
"""Layers, and whether a transition that halves the channels follows; the third block of DenseNet is parted in two."""

GROWTH = 32
INNER = 128
PYRAMID = 512
PYRAMID_ROWS = (8, 4, 2, 1)
LADDER = (256, 256, 128, 128)
"""Channels of the way back, deepest first."""

PUBLISHED = Published(
    "LDN",
    "Krešo et al. 2021",
    "ED",
    "DenseNet-121, 64→4; printed with 9.5 million parameters, which no count of the authors' code gives",
    (
        Score("Cityscapes", "val", 79.0, "survey", pretrained=True),
        Score("Cityscapes", "test", 79.3, "survey", pretrained=True),
    ),
    speeds=survey_speeds(28.9, 87.7, 89.6, 18.4),
)


@dataclasses.dataclass(frozen=True)
class LDN(NetworkSpec, name="ldn", published=PUBLISHED):
    """LDN on DenseNet-121."""

    def declare(self) -> Network:
        """Dense blocks to 1/64, a pyramid, and back to 1/4 beside the dense blocks' outputs."""
        n = Sketch(self.num_classes)
        b = n.block("stem", "stem", "encoder")
        x = b.conv("conv", n.image, 64, kernel=7, stride=2, activation="relu")
        x = b.pool("pool", x, "max", window=2, padding="VALID")
        skips = []
        for number, (layers, transition) in enumerate(DENSE, start=1):
            for i in range(1, layers + 1):
                x = dense_layer(n.block(f"dense{number}_{i}", "dense", "encoder"), x)
            if number == len(DENSE):
                break
            skips.append(x)
            b = n.block(f"down_{number}", "transition", "encoder")
            if transition:
                x = preactivated(b, "conv", x, x.channels // 2)
            x = b.pool("pool", x, "average", window=2, padding="VALID")
        x = pyramid(n.block("pyramid", "pyramid", "decoder"), x)
        for level, channels in zip(range(len(skips), 0, -1), LADDER, strict=True):
            x = step(n.block(f"ladder_{level}", "ladder", "decoder"), x, skips[level - 1], channels)
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, b.norm("norm", x, "relu")), n.image)
        return n.network()


def dense_layer(b: Builder, x: Tensor) -> Tensor:
    """A few channels made of all, behind them."""
    return b.concat("concat", x, preactivated(b, "grow", preactivated(b, "reduce", x, INNER), GROWTH, kernel=3))


def pyramid(b: Builder, x: Tensor) -> Tensor:
    """Means over coarser and coarser grids beside the map."""
    x = preactivated(b, "reduce", x, PYRAMID)
    levels = [x]
    for rows in PYRAMID_ROWS:
        y = preactivated(b, f"conv_{rows}", b.bins(f"bins_{rows}", x, Rows(rows)), PYRAMID // len(PYRAMID_ROWS))
        levels.append(b.resize(f"up_{rows}", y, x))
    return preactivated(b, "join", b.concat("concat", *levels), PYRAMID)


def step(b: Builder, x: Tensor, skip: Tensor, channels: int) -> Tensor:
    """The deep map enlarged, plus what a bottleneck makes of it and the skip."""
    up = b.resize("up", x, skip)
    y = b.sum("sum_1", up, preactivated(b, "skip", skip, up.channels))
    if y.channels > INNER:
        y = preactivated(b, "reduce", y, INNER)
    y = preactivated(b, "conv", y, channels, kernel=3)
    return b.sum("sum_2", y, up if up.channels == channels else preactivated(b, "shortcut", up, channels))
