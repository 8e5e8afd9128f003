"""PIDNet-S, -M and -L (Xu et al. 2023), after the authors' code; the auxiliary heads are left out.

Three branches: P keeps details at 1/8, I goes on to 1/64, D follows the boundaries.
"""

import dataclasses
from typing import ClassVar

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo import ddrnet
from rtseg_jax.zoo.resnet import bottleneck, preactivated


@dataclasses.dataclass(frozen=True)
class PIDNet(NetworkSpec):
    """Network of three branches.

    Attributes:
      width: channels at 1/4.
      short: blocks in rows at 1/4 and 1/8.
      long: blocks in rows at 1/16 and 1/32.
      pyramid: channels of the pyramid's levels.
      head: channels of the head.
      large: whether D is as wide as P, the pyramid is DDRNet's and the merge is one 3×3 convolution, as in -L.
    """

    width: ClassVar[int]
    short: ClassVar[int] = 2
    long: ClassVar[int] = 3
    pyramid: ClassVar[int] = 96
    head: ClassVar[int] = 128
    large: ClassVar[bool] = False

    def declare(self) -> Network:
        """Stem, three branches, pyramid at 1/64, merge and head at 1/8."""
        n, w = Sketch(self.num_classes), self.width
        x = ddrnet.two_convolutions(n.block("stem", "ddrnet_stem", "stem"), n.image, w)
        x = self._row(n, "row_1", "stem", x, w, self.short, active=False)
        x = self._row(n, "row_2", "stem", x, 2 * w, self.short, 2)
        i = self._row(n, "i_1", "I", x, 4 * w, self.long, 2)
        p = self._row(n, "p_1", "P", x, 2 * w, self.short)
        d = self._row(n, "d_1", "D", x, 2 * w if self.large else w, 1)
        p, d = guided(n, 1, i, p, d, w)
        i = self._row(n, "i_2", "I", i, 8 * w, self.long, 2)
        p = self._row(n, "p_2", "P", p, 2 * w, self.short)
        if self.large:
            d = self._row(n, "d_2", "D", d, 2 * w, 1)
        else:
            d = ddrnet.wide(n.block("d_2", "ddrnet_bottleneck", "D"), d, 2 * w)
        p, d = guided(n, 2, i, p, d, w)
        i = ddrnet.wide(n.block("i_3", "ddrnet_bottleneck", "I"), i, 16 * w, 2)
        b = n.block("i_4", "pidnet_bottleneck", "I")
        i = bottleneck(b, i, 8 * w, 16 * w, last=None)  # the one place where a sum goes on without a ReLU
        p = ddrnet.wide(n.block("p_3", "ddrnet_bottleneck", "P"), p, 4 * w)
        d = ddrnet.wide(n.block("d_3", "ddrnet_bottleneck", "D"), d, 4 * w)
        level = ddrnet.pyramid if self.large else pyramid
        i = level(n.block("pyramid", "dappm" if self.large else "pappm", "I"), i, self.pyramid, 4 * w)
        merge = merged_as_one if self.large else merged
        x = merge(n.block("merge", "pidnet_merge", "merge"), i, p, d)
        b = n.block("head", "ddrnet_head", "head")
        x = preactivated(b, "mix", x, self.head, kernel=3)
        b.resize("logits", n.classifier(b, b.norm("norm", x, "relu")), n.image)
        return n.network()

    def _row(
        self,
        n: Sketch,
        name: str,
        part: str,
        x: Tensor,
        channels: int,
        blocks: int,
        stride: int = 1,
        *,
        active: bool = True,
    ) -> Tensor:
        return ddrnet.row(n, name, part, x, channels, stride, blocks, active=active)


def published(size: str) -> Published:
    """What is printed of one of the sizes."""
    return Published(f"PIDNet-{size}", "Xu et al. 2023", "", "the authors' layers, inference graph")


@dataclasses.dataclass(frozen=True)
class PIDNetS(PIDNet, name="pidnet_s", published=published("S")):
    """PIDNet-S."""

    width: ClassVar[int] = 32


@dataclasses.dataclass(frozen=True)
class PIDNetM(PIDNet, name="pidnet_m", published=published("M")):
    """PIDNet-M."""

    width: ClassVar[int] = 64


@dataclasses.dataclass(frozen=True)
class PIDNetL(PIDNet, name="pidnet_l", published=published("L")):
    """PIDNet-L."""

    width: ClassVar[int] = 64
    short: ClassVar[int] = 3
    long: ClassVar[int] = 4
    pyramid: ClassVar[int] = 112
    head: ClassVar[int] = 256
    large: ClassVar[bool] = True


def guided(n: Sketch, number: int, i: Tensor, p: Tensor, d: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """P takes over from I where both agree pixel by pixel (Pag); D has I added."""
    b = n.block(f"pag_{number}", "pag", "P")
    y = b.conv("compress", b.activate("relu", i, "relu"), p.channels, kernel=1)
    query = b.resize("query_up", b.conv("query", y, channels, kernel=1), p)
    alike = b.gate("alike", b.conv("key", p, channels, kernel=1), query, None)
    gate = b.reduce_channels("agreement", alike, "sum")
    kept, taken = b.gate("kept", p, gate, complement=True), b.gate("taken", b.resize("up", y, p), gate)
    new_p = b.sum("sum", kept, taken)
    b = n.block(f"difference_{number}", "pidnet_difference", "D")
    y = b.conv("conv", b.activate("relu", i, "relu"), d.channels)
    return new_p, b.sum("sum", d, b.resize("up", y, d))


def pyramid(b: Builder, x: Tensor, channels: int, out: int) -> Tensor:
    """Means over ever larger windows, each with the map itself, refined side by side (PAPPM)."""
    base, levels = preactivated(b, "level_1", x, channels), []
    for i, means in enumerate(ddrnet.pooled(b, x), start=2):
        y = b.resize(f"up_{i}", preactivated(b, f"level_{i}", means, channels), x)
        levels.append(b.sum(f"sum_{i}", y, base))
    y = b.concat("concat", *levels)
    y = preactivated(b, "refine", y, y.channels, kernel=3, groups=len(levels))
    y = preactivated(b, "compress", b.concat("concat_base", base, y), out)
    return b.sum("sum", y, preactivated(b, "shortcut", x, out))


def merged(b: Builder, i: Tensor, p: Tensor, d: Tensor) -> Tensor:
    """P at boundaries, I elsewhere, on top of the other one (Light-Bag)."""
    i = b.resize("up", i, p)
    left = b.sum("p_sum", b.gate("i_inside", i, d, complement=True), p)
    right = b.sum("i_sum", i, b.gate("p_boundary", p, d))
    left, right = b.conv("p_conv", left, p.channels, kernel=1), b.conv("i_conv", right, p.channels, kernel=1)
    return b.sum("sum", left, right)


def merged_as_one(b: Builder, i: Tensor, p: Tensor, d: Tensor) -> Tensor:
    """P at boundaries, I elsewhere (Bag)."""
    i = b.resize("up", i, p)
    x = b.sum("sum", b.gate("p_boundary", p, d), b.gate("i_inside", i, d, complement=True))
    return preactivated(b, "mix", x, p.channels, kernel=3)
