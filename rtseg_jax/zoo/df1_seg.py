"""DF1-Seg (Li et al. 2019, Partial Order Pruning), after the code that SFNet's authors publish beside theirs.

That code halves the picture where it evaluates; here no size is changed.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.sfnet import pyramid, trunk

WIDTH = 128
HEAD = 256

PUBLISHED = Published(
    "DF1-Seg",
    "Li et al. 2019",
    "",
    "DF1 trunk and decoder as SFNet's authors have them; the paper's own code was not compared",
    (
        Score("Cityscapes", "val", 74.1, "RTSeg", pretrained=True),
        Score("Cityscapes", "test", 73.0, "RTSeg", pretrained=True),
    ),
)


@dataclasses.dataclass(frozen=True)
class DF1Seg(NetworkSpec, name="df1_seg", published=PUBLISHED):
    """DF1-Seg.

    Attributes:
      dropout: rate of whole maps behind the pyramid and before the classifier.
    """

    dropout: float = 0.1

    def declare(self) -> Network:
        """Trunk to 1/32, pyramid, two fusions up to 1/16, head."""
        n = Sketch(self.num_classes)
        fine, coarse, deepest = trunk(n)
        b = n.block("pyramid", "sfnet_pyramid", "pyramid")
        x = plain(b, "reduce", pyramid(b, deepest, self.dropout, WIDTH))
        for step, lateral in enumerate((coarse, fine), start=1):
            b = n.block(f"fusion_{step}", "df1_fusion", "decoder")
            side = plain(b, "lateral", lateral)
            both = b.concat("concat", b.resize("up", x, side, align_corners=True), side)
            x = b.conv("conv", both, WIDTH, norm=False)
        b = n.block("head", "head", "head")
        x = b.conv("conv", x, HEAD, bias=True, activation="relu")
        x = n.classifier(b, b.dropout("dropout", x, self.dropout, maps=True))
        b.resize("logits", x, n.image, align_corners=True)
        return n.network()


def plain(b: Builder, name: str, x: Tensor) -> Tensor:
    """A 1×1 convolution with a bias and nothing behind it."""
    return b.conv(name, x, WIDTH, kernel=1, bias=True, norm=False)
