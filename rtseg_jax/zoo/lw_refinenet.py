"""Light-weight RefineNet (Nekrasov et al. 2018) on MobileNetV2, after the authors' PyTorch code."""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo import mobilenetv2

CHANNELS = 256
LEVELS = ((6, 5), (4, 3), (2,), (1,))
"""Numbers of MobileNetV2's rows, from 0, whose outputs meet at 1/32, 1/16, 1/8, 1/4."""

CHAIN = 4
"""Poolings in each chain."""

PUBLISHED = Published(
    "Light-weight RefineNet",
    "Nekrasov et al. 2018",
    "ED",
    "MobileNetV2, output stride 32; class map at 1/4, enlarged here with aligned corners like the maps inside",
)


@dataclasses.dataclass(frozen=True)
class LightWeightRefineNet(NetworkSpec, name="lw_refinenet", published=PUBLISHED):
    """Light-weight RefineNet on MobileNetV2."""

    def declare(self) -> Network:
        """Encoder to 1/32, and back to 1/4 through chains of poolings."""
        n = Sketch(self.num_classes)
        maps = encoder(n)
        deepest, *finer = ([maps[row] for row in rows] for rows in LEVELS)
        x = refine(n.block("refine_1", "refine", "decoder"), deepest)
        for level, laterals in enumerate(finer, start=2):
            x = refine(n.block(f"refine_{level}", "refine", "decoder"), laterals, x)
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, x, kernel=3), n.image, align_corners=True)
        return n.network()


def encoder(n: Sketch) -> list[Tensor]:
    """The output of every row of MobileNetV2; its first block has the convolution that expands by 1."""
    x = n.block("stem", "stem", "encoder").conv("conv", n.image, mobilenetv2.STEM, stride=2, activation="relu6")
    maps = []
    for row, (expansion, channels, blocks, stride) in enumerate(mobilenetv2.ROWS, start=1):
        for i in range(1, blocks + 1):
            b = n.block(f"row{row}_{i}", "inverted_residual", "encoder")
            if expansion == 1:
                x = b.conv("expand", x, x.channels, kernel=1, activation="relu6")
            x = mobilenetv2.inverted_residual(b, x, channels, expansion, stride if i == 1 else 1)
        maps.append(x)
    return maps


def refine(b: Builder, laterals: list[Tensor], deep: Tensor | None = None) -> Tensor:
    """Maps of one size and the deeper result, summed, then a chain of poolings."""
    parts = [plain(b, f"lateral_{i}", x) for i, x in enumerate(laterals, start=1)]
    if deep is not None:
        parts.append(b.resize("up", plain(b, "adapt", deep), laterals[0], align_corners=True))
    x = top = b.sum("sum", *parts, activation="relu6")
    for i in range(1, CHAIN + 1):
        top = plain(b, f"chain_{i}", b.pool(f"pool_{i}", top, "max", window=5, stride=1))
        x = b.sum(f"chain_sum_{i}", x, top)
    return x


def plain(b: Builder, name: str, x: Tensor) -> Tensor:
    """A 1×1 convolution with nothing behind it."""
    return b.conv(name, x, CHANNELS, kernel=1, norm=False)
