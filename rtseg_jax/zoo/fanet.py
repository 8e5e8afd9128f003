"""FANet-18 and FANet-34 (Hu et al. 2020), after the authors' code.

Two things differ from what they released: their test graph leaves batch norm out, because their weights have it folded
in, and has a 3×3 convolution at 1/64 that only a training head reads. Here batch norm is real, and that convolution is
left out.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo import resnet

KEYS, SMOOTH, HEAD = 32, 128, 256
BORDER = ((1, 1), (1, 1))  # their 1×1 convolution on the way up is padded, so its map is two pixels larger each way
VARIANT = "the authors' layers with real batch norm, without the convolution whose output nothing reads"


@dataclasses.dataclass(frozen=True)
class FANet(NetworkSpec):
    """Fast attention network.

    Attributes:
      blocks: basic blocks in each row of the encoder.
    """

    blocks: ClassVar[Sequence[int]]

    def declare(self) -> Network:
        """Encoder to 1/64, attention on each of its maps, from the deepest on; head at 1/8."""
        n = Sketch(self.num_classes)
        x = resnet.stem(n.block("stem", "stem", "encoder"), n.image, "leaky_relu")
        maps = resnet.basic_rows(n, x, self.blocks, (2, 2, 2, 2), inner="leaky_relu")
        joined: list[Tensor] = []
        for stage, x in enumerate(reversed(maps), start=1):
            b = n.block(f"attention_{stage}", "fast_attention", "attention")
            joined.append(fast_attention(b, x, joined[-1] if joined else None))
        _, coarse, _, fine = joined
        b = n.block("head", "fanet_head", "head")
        coarse = b.conv("coarse", coarse, SMOOTH, activation="leaky_relu")
        fine = b.conv("fine", fine, SMOOTH, activation="leaky_relu")
        x = b.concat("concat", b.resize("up", coarse, fine, align_corners=True), fine)
        x = n.classifier(b, b.conv("conv", x, HEAD, activation="leaky_relu"), bias=False)
        b.resize("logits", x, n.image, align_corners=True)
        return n.network()


@dataclasses.dataclass(frozen=True)
class FANet18(
    FANet,
    name="fanet_18",
    published=Published(
        "FANet-18",
        "Hu et al. 2020",
        "AT",
        VARIANT,
        (
            Score("Cityscapes", "val", 75.0, "survey", pretrained=True),
            Score("Cityscapes", "test", 74.4, "survey", pretrained=True),
            Score("CamVid", "test", 69.0, "survey", pretrained=True),
        ),
        speeds=survey_speeds(147.7, 308.7, 313.5, 63.6),
    ),
):
    """FANet on ResNet-18."""

    blocks: ClassVar[Sequence[int]] = resnet.RESNET18


@dataclasses.dataclass(frozen=True)
class FANet34(
    FANet,
    name="fanet_34",
    published=Published(
        "FANet-34",
        "Hu et al. 2020",
        "AT",
        VARIANT,
        (
            Score("Cityscapes", "val", 76.3, "survey", pretrained=True),
            Score("Cityscapes", "test", 75.5, "survey", pretrained=True),
            Score("CamVid", "test", 70.1, "survey", pretrained=True),
        ),
        speeds=survey_speeds(114.7, 233.7, 235.7, 26.2),
    ),
):
    """FANet on ResNet-34."""

    blocks: ClassVar[Sequence[int]] = resnet.RESNET34


def fast_attention(b: Builder, x: Tensor, below: Tensor | None) -> Tensor:
    """Attention without a softmax, plus the map, plus what comes up from below."""
    query = b.unit_norm("query_unit", b.conv("query", x, KEYS, kernel=1))
    key = b.unit_norm("key_unit", b.conv("key", x, KEYS, kernel=1))
    value = b.conv("value", x, x.channels, kernel=1, activation="leaky_relu")
    y = b.linear_attention("attention", query, key, value)
    y = b.conv("project", y, x.channels, kernel=1, activation="leaky_relu")
    if below is None:
        return b.sum("sum", x, y)
    z = b.conv("below", below, x.channels, kernel=1, padding=BORDER, activation="leaky_relu")
    return b.sum("sum", x, y, b.resize("up", z, x, align_corners=True))
