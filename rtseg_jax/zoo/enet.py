"""ENet (Paszke et al. 2016), after the authors' Torch7 code.

Unpooling puts a value wherever its window had its maximum, see `operators.Unpool`. Of maps of odd sizes the last row
and column are pooled too, as the convolutions beside have it; the original takes even sizes only.
"""

import dataclasses
from typing import NamedTuple

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch

STAGE: tuple[str | int, ...] = ("regular", 2, "asymmetric", 4, "regular", 8, "asymmetric", 16)
"""Middles of the eight bottlenecks of stages 2 and 3; a number is the dilation of a 3×3 convolution."""

PUBLISHED = Published(
    "ENet",
    "Paszke et al. 2016",
    "ED",
    "the authors' Torch7 layers; PyTorch ports have other widths and fewer biases",
    (Score("Cityscapes", "test", 58.3, "survey"), Score("CamVid", "test", 51.3, "survey")),
    speeds=survey_speeds(45.5, 107.7, 142.0, 28.0),
)


class Pooled(NamedTuple):
    """A pooling that is undone later: what went in, and what came out."""

    before: Tensor
    after: Tensor


@dataclasses.dataclass(frozen=True)
class ENet(NetworkSpec, name="enet", published=PUBLISHED):
    """ENet.

    Attributes:
      first_dropout: rate of whole maps in stage 1.
      dropout: the same in stages 2 and 3.
    """

    first_dropout: float = 0.01
    dropout: float = 0.1

    def declare(self) -> Network:
        """Encoder in three stages at 1/4, 1/8, 1/8; decoder in two."""
        n = Sketch(self.num_classes, epsilon=1e-3)
        x = initial(n.block("initial", "initial", "encoder"), n.image)
        first = pool(n.block("stage1_pool", "max_pool", "encoder"), x)
        x = downsampling(n.block("stage1_down", "enet_down", "encoder"), first, 64, self.first_dropout)
        for i in range(1, 5):
            x = bottleneck(n.block(f"stage1_{i}", "enet_regular", "encoder"), x, "regular", self.first_dropout)
        second = pool(n.block("stage2_pool", "max_pool", "encoder"), x)
        x = downsampling(n.block("stage2_down", "enet_down", "encoder"), second, 128, self.dropout)
        for stage in (2, 3):
            for i, middle in enumerate(STAGE, start=1):
                kind = "enet_dilated" if isinstance(middle, int) else f"enet_{middle}"
                x = bottleneck(n.block(f"stage{stage}_{i}", kind, "encoder"), x, middle, self.dropout)
        for stage, (pooled, channels, regular) in enumerate(((second, 64, 2), (first, 16, 1)), start=4):
            x = upsampling(n.block(f"stage{stage}_up", "enet_up", "decoder"), x, channels, pooled)
            for i in range(1, regular + 1):
                x = decoding(n.block(f"stage{stage}_{i}", "enet_decoding", "decoder"), x)
        b = n.block("head", "head", "head")
        b.resize("logits", n.transposed_classifier(b, x), n.image)
        return n.network()


def initial(b: Builder, image: Tensor) -> Tensor:
    """A strided convolution beside the pooled picture."""
    y = b.conv("conv", image, 13, stride=2, bias=True, norm=False)
    z = b.pool("pool", image, "max", window=2, padding="SAME")
    return b.norm("norm", b.concat("concat", y, z), "prelu")


def pool(b: Builder, x: Tensor) -> Pooled:
    """A max-pool; a block of its own, since the decoder reads it too."""
    return Pooled(x, b.pool("pool", x, "max", window=2, padding="SAME"))


def downsampling(b: Builder, pooled: Pooled, channels: int, dropout: float) -> Tensor:
    """A bottleneck beside the pooled map, whose missing channels are zeros."""
    inner = channels // 4
    y = b.conv("reduce", pooled.before, inner, kernel=2, stride=2, padding="SAME", activation="prelu")
    y = b.conv("middle", y, inner, bias=True, activation="prelu")
    y = b.dropout("dropout", b.conv("expand", y, channels, kernel=1), dropout, maps=True)
    z = b.pad_channels("pad", pooled.after, channels)
    return b.sum("sum", y, z, activation="prelu")


def bottleneck(b: Builder, x: Tensor, middle: str | int, dropout: float) -> Tensor:
    """1×1, a middle convolution, 1×1, plus the input."""
    inner = x.channels // 4
    y = b.conv("reduce", x, inner, kernel=1, activation="prelu")
    if middle == "asymmetric":
        y = b.conv("middle_1", y, inner, kernel=(1, 5), norm=False)
        y = b.conv("middle_2", y, inner, kernel=(5, 1), bias=True, activation="prelu")
    else:
        dilation = middle if isinstance(middle, int) else 1
        y = b.conv("middle", y, inner, dilation=dilation, bias=True, activation="prelu")
    y = b.dropout("dropout", b.conv("expand", y, x.channels, kernel=1), dropout, maps=True)
    return b.sum("sum", x, y, activation="prelu")


def upsampling(b: Builder, x: Tensor, channels: int, pooled: Pooled) -> Tensor:
    """A bottleneck with a transposed convolution, beside the unpooled map."""
    inner = channels // 4
    y = b.conv("reduce", x, inner, kernel=1, activation="relu")
    y = b.transpose("middle", y, inner, kernel=3, stride=2, like=pooled.before, bias=True, activation="relu")
    y = b.conv("expand", y, channels, kernel=1)
    z = b.unpool("unpool", b.conv("shortcut", x, channels, kernel=1), *pooled)
    return b.sum("sum", y, z, activation="relu")


def decoding(b: Builder, x: Tensor) -> Tensor:
    """A bottleneck with ReLU."""
    inner = x.channels // 4
    y = b.conv("reduce", x, inner, kernel=1, activation="relu")
    y = b.conv("middle", y, inner, bias=True, activation="relu")
    return b.sum("sum", x, b.conv("expand", y, x.channels, kernel=1), activation="relu")
