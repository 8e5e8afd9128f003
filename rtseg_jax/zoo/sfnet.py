"""SFNet (Li et al. 2020) on DF1, after the authors' re-release; their first code was not compared.

Deep maps are not resized but sampled where a predicted flow says, so that they meet the edges of the finer ones.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.resnet import basic_rows

BLOCKS, STRIDES = (3, 3, 3, 1), (2, 2, 2, 1)  # of DF1's rows
WIDTH, NARROW = 64, 32
BINS = (1, 2, 3, 6)

PUBLISHED = Published(
    "SFNet",
    "Li et al. 2020",
    "",
    "DF1 trunk, the authors' re-release without its training heads; 72.2 is what that code reaches",
    (
        Score("Cityscapes", "val", 76.4, "RTSeg", pretrained=True),
        Score("Cityscapes", "test", 74.5, "RTSeg", pretrained=True),
        Score("Cityscapes", "val", 72.2, "authors", pretrained=True),
    ),
)


@dataclasses.dataclass(frozen=True)
class SFNet(NetworkSpec, name="sfnet_df1", published=PUBLISHED):
    """SFNet on DF1.

    Attributes:
      dropout: rate of whole maps behind the pyramid.
    """

    dropout: float = 0.1

    def declare(self) -> Network:
        """Trunk to 1/32, pyramid, two steps of flow alignment up to 1/16."""
        n = Sketch(self.num_classes)
        fine, coarse, deepest = trunk(n)
        f = pyramid(n.block("pyramid", "sfnet_pyramid", "pyramid"), deepest, self.dropout)
        levels = [f]
        for step, lateral in enumerate((coarse, fine), start=1):
            f = aligned(n.block(f"align_{step}", "flow_alignment", "decoder"), f, lateral)
            b = n.block(f"branch_{step}", "conv", "decoder")
            levels.append(b.conv("conv", f, WIDTH, activation="relu"))
        b, (*small, finest) = n.block("head", "sfnet_head", "head"), levels
        ups = [b.resize(f"up_{i}", y, finest, align_corners=True) for i, y in enumerate(reversed(small), start=1)]
        x = b.conv("conv", b.concat("concat", finest, *ups), WIDTH, activation="relu")
        b.resize("logits", n.classifier(b, x), n.image, align_corners=True)
        return n.network()


def trunk(n: Sketch) -> list[Tensor]:
    """DF1: maps at 1/16, and two at 1/32."""
    b = n.block("stem", "stem", "encoder")
    x = b.conv("conv_1", n.image, 32, stride=2, activation="relu")
    x = b.conv("conv_2", x, 64, stride=2, activation="relu")
    return basic_rows(n, x, BLOCKS, STRIDES)[1:]


def pyramid(b: Builder, x: Tensor, dropout: float, width: int = WIDTH) -> Tensor:
    """Means over grids of bins beside the map."""
    levels = []
    for count in BINS:
        y = b.conv(f"conv_{count}", b.bins(f"bins_{count}", x, count), width, kernel=1)
        levels.append(b.resize(f"up_{count}", y, x, align_corners=True))
    x = b.conv("join", b.concat("concat", *levels, x), width, kernel=1, activation="relu")
    return b.dropout("dropout", x, dropout, maps=True)


def aligned(b: Builder, deep: Tensor, lateral: Tensor) -> Tensor:
    """The deep map sampled at the places that a flow of both maps says, plus the lateral one."""
    lateral = b.conv("lateral", lateral, WIDTH, kernel=1, bias=True, activation="relu")
    up = b.resize("up", b.conv("deep", deep, NARROW, kernel=1, norm=False), lateral, align_corners=True)
    both = b.concat("concat", up, b.conv("fine", lateral, NARROW, kernel=1, norm=False))
    flow = b.conv("flow", both, 2, norm=False)
    return b.sum("sum", b.warp("warp", deep, flow), lateral)
