"""ShelfNet18-lw (Zhuang et al. 2019), after the authors' real-time code.

There batch norm scales by |gamma| + epsilon; here by gamma, which spans the same networks. One block of theirs whose
output nothing reads is left out, and so are the auxiliary heads.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.operators import Activation
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo import resnet
from rtseg_jax.zoo.bisenetv1 import refined

WIDTHS = (64, 128, 256)  # at 1/8, 1/16, 1/32

PUBLISHED = Published(
    "ShelfNet18-lw",
    "Zhuang et al. 2019",
    "ED",
    "the authors' real-time layers, inference graph",
    (Score("Cityscapes", "test", 74.8, "survey", pretrained=True),),
    speeds=survey_speeds(69.5, 146.3, 181.7, 23.3),
)


@dataclasses.dataclass(frozen=True)
class ShelfNet18(NetworkSpec, name="shelfnet18_lw", published=PUBLISHED):
    """ShelfNet on ResNet-18.

    Attributes:
      dropout: rate of whole maps within the shared blocks.
    """

    dropout: float = 0.1

    def declare(self) -> Network:
        """Encoder to 1/32; up, down and up again."""
        n = Sketch(self.num_classes)
        x = resnet.stem(n.block("stem", "stem", "encoder"), n.image, "leaky_relu")
        _, *maps = resnet.basic_rows(n, x, inner="leaky_relu")
        laterals = []
        for i, (y, channels) in enumerate(zip(maps, WIDTHS, strict=True), start=1):
            b = n.block(f"lateral_{i}", "lateral", "shelf_1")
            laterals.append(b.conv("conv", y, channels, kernel=1, activation="leaky_relu"))
        x = shared(n.block("shelf1_bottom", "shelf_shared", "shelf_1"), laterals[-1], self.dropout)
        x, first = self._up(n, 1, x, laterals[:-1])
        x = shared(n.block("shelf2_start", "shelf_shared", "shelf_2"), x, self.dropout)
        kept: list[Tensor] = []
        for i, y in enumerate(reversed(first), start=1):
            b = n.block(f"shelf2_down_{i}", "shelf_down", "shelf_2")
            x = b.conv("conv", x, y.channels, stride=2, bias=True, norm=False, activation="relu") if kept else x
            x = shared(b, b.sum("with_first", x, y), self.dropout)
            kept.append(x)
        b = n.block("shelf2_bottom", "shelf_bottom", "shelf_2")
        x = b.conv("conv", x, WIDTHS[-1], stride=2, bias=True, norm=False, activation="relu")
        x = shared(b, x, self.dropout)
        x, _ = self._up(n, 2, x, kept)
        b = n.block("head", "head", "head")
        x = b.conv("conv", x, 64, activation="leaky_relu")
        b.resize("logits", n.classifier(b, x, kernel=3, bias=False), n.image, align_corners=True)
        return n.network()

    def _up(self, n: Sketch, shelf: int, x: Tensor, beside: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """From 1/32 to 1/8, each step plus a map of its size; the last map and all of them."""
        maps = []
        for i, y in enumerate(reversed(beside), start=1):
            b = n.block(f"shelf{shelf}_up_{i}", "shelf_up", f"shelf_{shelf}")
            x = b.resize("up", refined(b, "refine", x, y.channels, "leaky_relu"), y, "nearest")
            x = b.conv("conv", b.sum("sum", y, x), y.channels, activation="leaky_relu")
            maps.append(x)
        return x, maps


def shared(b: Builder, x: Tensor, dropout: float, inner: Activation = "leaky_relu") -> Tensor:
    """One 3×3 convolution twice, with two batch norms, plus the input."""
    y = b.conv("shared_1", x, x.groups, bias=True, activation=inner)
    y = b.dropout("dropout", y, dropout, maps=True)
    y = b.conv("shared_2", y, x.groups, bias=True, shared="shared_1")
    return b.sum("sum", x, y, activation="relu")
