"""DDRNet-23 and its slim form (Hong et al. 2021), after the authors' code; the auxiliary head is left out.

Two branches from 1/8 on, which exchange their maps twice. Rows end without a ReLU; who reads them applies it.
"""

import dataclasses
from typing import ClassVar

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.resnet import basic, bottleneck, preactivated

POOLS = ((5, 2), (9, 4), (17, 8))  # window and stride
PYRAMID = 128


@dataclasses.dataclass(frozen=True)
class DDRNet(NetworkSpec):
    """Deep dual-resolution network.

    Attributes:
      width: channels at 1/4.
      head: channels of the head.
    """

    width: ClassVar[int]
    head: ClassVar[int]

    def declare(self) -> Network:
        """Stem, two branches with two exchanges, pyramid at 1/64, head at 1/8."""
        n, w = Sketch(self.num_classes), self.width
        x = two_convolutions(n.block("stem", "ddrnet_stem", "stem"), n.image, w)
        x = row(n, "row_1", "stem", x, w, active=False)
        x = row(n, "row_2", "stem", x, 2 * w, 2)
        low = row(n, "low_1", "low", x, 4 * w, 2)
        high = row(n, "high_1", "high", x, 2 * w)
        low, high = exchanged(n, 1, low, high, (4 * w,))
        low = row(n, "low_2", "low", low, 8 * w, 2)
        high = row(n, "high_2", "high", high, 2 * w)
        low, high = exchanged(n, 2, low, high, (4 * w, 8 * w))
        low = wide(n.block("low_3", "ddrnet_bottleneck", "low"), low, 16 * w, 2)
        high = wide(n.block("high_3", "ddrnet_bottleneck", "high"), high, 4 * w)
        low = pyramid(n.block("pyramid", "dappm", "pyramid"), low, PYRAMID, 4 * w)
        b = n.block("head", "ddrnet_head", "head")
        x = preactivated(b, "mix", b.sum("sum", high, b.resize("up", low, high)), self.head, kernel=3)
        b.resize("logits", n.classifier(b, b.norm("norm", x, "relu")), n.image)
        return n.network()


@dataclasses.dataclass(frozen=True)
class DDRNet23Slim(
    DDRNet,
    name="ddrnet_23_slim",
    published=Published("DDRNet-23-slim", "Hong et al. 2021", "", "the authors' layers, inference graph"),
):
    """DDRNet-23-slim."""

    width: ClassVar[int] = 32
    head: ClassVar[int] = 64


@dataclasses.dataclass(frozen=True)
class DDRNet23(
    DDRNet,
    name="ddrnet_23",
    published=Published("DDRNet-23", "Hong et al. 2021", "", "the authors' layers, inference graph"),
):
    """DDRNet-23."""

    width: ClassVar[int] = 64
    head: ClassVar[int] = 128


def two_convolutions(b: Builder, image: Tensor, channels: int) -> Tensor:
    """To 1/4."""
    x = b.conv("conv_1", image, channels, stride=2, bias=True, activation="relu")
    return b.conv("conv_2", x, channels, stride=2, bias=True, activation="relu")


def row(
    n: Sketch, name: str, part: str, x: Tensor, channels: int, stride: int = 1, blocks: int = 2, *, active: bool = True
) -> Tensor:
    """Basic blocks, of which the last ends with its sum; `active`: the input still has to pass its ReLU."""
    for i in range(1, blocks + 1):
        first = i == 1
        b = n.block(f"{name}_{i}", "ddrnet_row_down" if first and stride > 1 else "ddrnet_row", part)
        x = b.activate("relu", x, "relu") if first and active else x
        x = basic(b, x, channels, stride if first else 1, last=None if i == blocks else "relu")
    return x


def wide(b: Builder, x: Tensor, channels: int, stride: int = 1) -> Tensor:
    """ReLU and a bottleneck that ends with its sum."""
    return bottleneck(b, b.activate("relu", x, "relu"), channels // 2, channels, stride, last=None)


def exchanged(n: Sketch, number: int, low: Tensor, high: Tensor, widths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Each branch plus the other, which comes down by strided convolutions of these widths or up by a resize."""
    b = n.block(f"down_{number}", "ddrnet_down", "low")
    x = b.activate("relu", high, "relu")
    for i, channels in enumerate(widths, start=1):
        last = i == len(widths)
        x = b.conv(f"conv_{i}", x, channels, stride=2, activation=None if last else "relu")
    new_low = b.sum("sum", low, x)
    b = n.block(f"up_{number}", "ddrnet_up", "high")
    x = b.conv("conv", b.activate("relu", low, "relu"), high.channels, kernel=1)
    return new_low, b.sum("sum", high, b.resize("up", x, high))


def pyramid(b: Builder, x: Tensor, channels: int, out: int) -> Tensor:
    """Means over ever larger windows, each refined together with the one before (DAPPM)."""
    levels = [preactivated(b, "level_1", x, channels)]
    for i, means in enumerate(pooled(b, x), start=2):
        y = b.resize(f"up_{i}", preactivated(b, f"level_{i}", means, channels), x)
        levels.append(preactivated(b, f"join_{i}", b.sum(f"sum_{i}", y, levels[-1]), channels, kernel=3))
    y = preactivated(b, "compress", b.concat("concat", *levels), out)
    return b.sum("sum", y, preactivated(b, "shortcut", x, out))


def pooled(b: Builder, x: Tensor) -> list[Tensor]:
    """Means over three windows, and over all pixels."""
    windows = [b.pool(f"pool_{w}", x, "average", window=w, stride=stride) for w, stride in POOLS]
    return [*windows, b.mean("mean", x)]
