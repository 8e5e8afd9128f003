"""ESPNetV2 (Mehta et al. 2019), after the authors' current PyTorch code; the decoder of their first release differs."""

import dataclasses
import math

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.extents import Scaled
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.errors import UserError

WIDTHS = {
    0.5: (16, 32, 64, 128),
    1.0: (32, 64, 128, 256),
    1.5: (32, 96, 192, 384),
    2.0: (32, 128, 256, 512),
}
"""By scale: channels at 1/2, 1/4, 1/8, 1/16."""

MODULES = (0, 3, 7)
"""At 1/4, 1/8, 1/16, besides the one that downsamples."""

DILATIONS = (1, 2, 3, 4)
DEEP_DILATIONS = (1, 1, 2, 3)
"""Of the modules at 1/16."""

DECODER = (64, 48, 32)
"""Channels of the decoder's maps at 1/16, 1/8, 1/4."""

PYRAMID_SCALES = ((2, 1), (3, 2), (1, 1), (1, 2), (1, 10))
"""Numerators and denominators."""

SMALLEST_SIDE = 5
MOST_PYRAMID_CHANNELS = 16

PUBLISHED = Published(
    "ESPNetV2",
    "Mehta et al. 2019",
    "ED",
    "scale 2.0 with the decoder of the authors' later code; published with 20 classes",
    (
        Score("Cityscapes", "val", 66.4, "survey", pretrained=True),
        Score("Cityscapes", "test", 66.2, "survey", pretrained=True),
    ),
    speeds=survey_speeds(32.5, 114.7, 140.2, 32.4),
)


@dataclasses.dataclass(frozen=True)
class ESPNetV2(NetworkSpec, name="espnetv2", published=PUBLISHED):
    """ESPNetV2.

    Attributes:
      scale: of the channels: 0.5, 1.0, 1.5 or 2.0.
    """

    scale: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale not in WIDTHS:
            raise UserError(f"network.scale is {self.scale}: there are {', '.join(map(str, WIDTHS))}")

    def declare(self) -> Network:
        """Encoder to 1/16 that sees the picture at every stage; decoder of pooling pyramids and gated skips."""
        n = Sketch(self.num_classes)
        stem, *widths = WIDTHS[self.scale]
        picture = n.block("picture_1", "average_pool", "picture").pool("pool", n.image, "average")
        x = n.block("stem", "stem", "encoder").conv("conv", n.image, stem, stride=2, activation="prelu")
        maps = [x]
        for stage, (channels, modules) in enumerate(zip(widths, MODULES, strict=True), start=2):
            picture = n.block(f"picture_{stage}", "average_pool", "picture").pool("pool", picture, "average")
            x = downsampling(n.block(f"down_{stage}", "eesp_down", "encoder"), x, picture, channels)
            dilations = DEEP_DILATIONS if stage == len(WIDTHS[self.scale]) else DILATIONS
            for i in range(1, modules + 1):
                b = n.block(f"stage{stage}_{i}", "eesp", "encoder")
                y = extremely_efficient_pyramid(b, x, channels, dilations)
                x = b.sum("sum", x, y, activation="prelu")
            maps.append(x)
        inner = max(1, min(self.num_classes // 2, MOST_PYRAMID_CHANNELS))
        *skips, x = maps
        for level, channels in zip(range(len(maps), 1, -1), DECODER, strict=True):
            b = n.block(f"pyramid_{level}", "pooling_pyramid", "decoder")
            x = b.conv("mix", pooling_pyramid(b, x, inner), channels, kernel=1, activation="prelu")
            x = join(n.block(f"join_{level}", "gated_skip", "decoder"), x, skips[level - 2])
        b = n.block("head", "head", "head")
        x = n.classifier(b, pooling_pyramid(b, x, inner))
        b.resize("logits", x, n.image, align_corners=True)
        return n.network()


def extremely_efficient_pyramid(
    b: Builder, x: Tensor, channels: int, dilations: tuple[int, ...], stride: int = 1
) -> Tensor:
    """Grouped 1×1 to a quarter of the channels, four dilations of it, their running sums side by side, grouped 1×1."""
    groups = len(dilations)
    y = b.conv("reduce", x, channels // groups, kernel=1, groups=groups, activation="prelu")
    parts: list[Tensor] = []
    for i, dilation in enumerate(dilations, start=1):
        z = b.conv(f"depthwise_{i}", y, stride=stride, dilation=dilation, norm=False)
        parts.append(b.sum(f"sum_{i}", z, parts[-1]) if parts else z)
    y = b.norm("norm", b.concat("concat", *parts), "prelu")
    return b.conv("expand", y, channels, kernel=1, groups=groups)


def downsampling(b: Builder, x: Tensor, picture: Tensor, channels: int) -> Tensor:
    """The pooled map beside new channels, plus channels made of the picture."""
    y = extremely_efficient_pyramid(b, x, channels - x.channels, DILATIONS, stride=2)
    y = b.concat("join", b.pool("pool", x, "average"), y)
    z = b.conv("picture_1", picture, picture.channels, activation="prelu")
    return b.sum("sum", y, b.conv("picture_2", z, channels, kernel=1), activation="prelu")


def pooling_pyramid(b: Builder, x: Tensor, inner: int) -> Tensor:
    """Few channels, a depthwise convolution at each of five sizes, shuffled so that groups mix the sizes."""
    x = b.conv("reduce", x, inner, kernel=1, activation="prelu")
    levels = []
    for i, (numerator, denominator) in enumerate(PYRAMID_SCALES, start=1):
        extent = Scaled(numerator, denominator, least=SMALLEST_SIDE)
        if numerator > denominator:
            y = b.conv(f"depthwise_{i}", b.resize(f"up_{i}", x, extent, align_corners=True), norm=False)
            y = b.bins(f"down_{i}", y, x)
        elif numerator < denominator:
            y = b.conv(f"depthwise_{i}", b.bins(f"down_{i}", x, extent), norm=False)
            y = b.resize(f"up_{i}", y, x, align_corners=True)
        else:
            y = b.conv(f"depthwise_{i}", x, norm=False)
        levels.append(y)
    y = b.norm("norm", b.concat("concat", *levels), "prelu")
    y = b.shuffle("shuffle", y, len(levels))
    return b.conv("merge", y, inner, groups=inner, activation="prelu")


def join(b: Builder, x: Tensor, skip: Tensor) -> Tensor:
    """The deep map enlarged, plus the skip gated by its mean."""
    groups = math.gcd(skip.channels, x.channels)
    y = b.conv("skip", skip, x.channels, groups=groups, activation="prelu")
    gate = b.conv("gate", b.mean("mean", skip), x.channels, kernel=1, norm=False)
    up = b.resize("up", x, skip, align_corners=True)
    return b.norm("norm", b.sum("sum", up, b.gate("gated", y, gate)), "prelu")
