"""PP-LiteSeg-T and -B (Peng et al. 2022), after the authors' Paddle code.

The trunk is STDC's, but its average pools leave the border out of the mean.
"""

import dataclasses
from typing import ClassVar

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.stdc import trunk

BINS, CONTEXT = (1, 2, 4), 128


@dataclasses.dataclass(frozen=True)
class PPLiteSeg(NetworkSpec):
    """PP-LiteSeg.

    Attributes:
      blocks: in each row of the trunk.
      widths: channels of the fusions, the deepest first.
    """

    blocks: ClassVar[tuple[int, int, int]]
    widths: ClassVar[tuple[int, int, int]]

    def declare(self) -> Network:
        """Trunk, pyramid at 1/32, fusions with the maps at 1/32, 1/16 and 1/8, head."""
        n = Sketch(self.num_classes)
        maps = trunk(n, self.blocks, count_padding=False)
        x = pyramid(n.block("pyramid", "liteseg_pyramid", "pyramid"), maps[-1])
        for i, (high, channels) in enumerate(zip(reversed(maps), self.widths, strict=True), start=1):
            x = fused(n.block(f"fusion_{i}", "liteseg_fusion", "fusion"), high, x, channels)
        b = n.block("head", "head", "head")
        x = n.classifier(b, b.conv("conv", x, self.widths[-1], activation="relu"), bias=False)
        b.resize("logits", x, n.image)
        return n.network()


@dataclasses.dataclass(frozen=True)
class PPLiteSegT(
    PPLiteSeg,
    name="pp_liteseg_t",
    published=Published("PP-LiteSeg-T", "Peng et al. 2022", "", "on STDC1, inference graph"),
):
    """PP-LiteSeg on STDC1."""

    blocks: ClassVar[tuple[int, int, int]] = (2, 2, 2)
    widths: ClassVar[tuple[int, int, int]] = (128, 64, 32)


@dataclasses.dataclass(frozen=True)
class PPLiteSegB(
    PPLiteSeg,
    name="pp_liteseg_b",
    published=Published("PP-LiteSeg-B", "Peng et al. 2022", "", "on STDC2, inference graph"),
):
    """PP-LiteSeg on STDC2."""

    blocks: ClassVar[tuple[int, int, int]] = (4, 5, 3)
    widths: ClassVar[tuple[int, int, int]] = (128, 96, 64)


def pyramid(b: Builder, x: Tensor) -> Tensor:
    """Means over grids, summed and mixed; the map itself is not among them."""
    levels = []
    for count in BINS:
        y = b.conv(f"conv_{count}", b.bins(f"bins_{count}", x, count), CONTEXT, kernel=1, bias=True, activation="relu")
        levels.append(b.resize(f"up_{count}", y, x))
    return b.conv("mix", b.sum("sum", *levels), CONTEXT, bias=True, activation="relu")


def fused(b: Builder, high: Tensor, low: Tensor, channels: int) -> Tensor:
    """Each pixel from the shallow or from the deep map, as the means and maxima of both tell (UAFM)."""
    high = b.conv("high", high, low.channels, activation="relu")
    low = b.resize("up", low, high)
    pairs = (("high", high), ("low", low))
    seen = [b.reduce_channels(f"{name}_{kind}", x, kind) for name, x in pairs for kind in ("mean", "max")]
    gate = b.conv("gate_1", b.concat("seen", *seen), 2, activation="relu")
    gate = b.conv("gate_2", gate, 1)
    x = b.sum("sum", b.gate("high_gated", high, gate), b.gate("low_gated", low, gate, complement=True))
    return b.conv("conv", x, channels, activation="relu")
