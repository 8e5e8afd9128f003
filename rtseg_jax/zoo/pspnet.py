"""PSPNet (Zhao et al. 2017) on ResNet-50 and ResNet-101, after the authors' PyTorch code without its auxiliary head.

That code wants sizes of 8n + 1; nothing here does.
"""

import dataclasses
from typing import ClassVar

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.resnet import RESNET50, RESNET101, bottleneck_rows

STRIDES, DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)
BINS = (1, 2, 3, 6)
WIDTH = 512


@dataclasses.dataclass(frozen=True)
class PSPNet(NetworkSpec):
    """Pyramid scene parsing network.

    Attributes:
      blocks: bottlenecks in each row.
      dropout: rate of whole maps before the classifier.
    """

    blocks: ClassVar[tuple[int, ...]]

    dropout: float = 0.1

    def declare(self) -> Network:
        """Dilated ResNet at 1/8, pyramid, classifier."""
        n = Sketch(self.num_classes)
        b = n.block("stem", "pspnet_stem", "encoder")
        x = b.conv("conv_1", n.image, 64, stride=2, activation="relu")
        x = b.conv("conv_2", x, 64, activation="relu")
        x = b.pool("pool", b.conv("conv_3", x, 128, activation="relu"), "max")
        *_, x = bottleneck_rows(n, x, self.blocks, STRIDES, DILATIONS)
        x = pyramid(n.block("pyramid", "pspnet_pyramid", "pyramid"), x)
        b = n.block("head", "head", "head")
        x = b.dropout("dropout", b.conv("conv", x, WIDTH, activation="relu"), self.dropout, maps=True)
        b.resize("logits", n.classifier(b, x), n.image, align_corners=True)
        return n.network()


@dataclasses.dataclass(frozen=True)
class PSPNet50(
    PSPNet,
    name="pspnet_50",
    published=Published("PSPNet-50", "Zhao et al. 2017", "", "ResNet-50 at 1/8, inference graph"),
):
    """PSPNet on ResNet-50."""

    blocks: ClassVar[tuple[int, ...]] = RESNET50


@dataclasses.dataclass(frozen=True)
class PSPNet101(
    PSPNet,
    name="pspnet_101",
    published=Published(
        "PSPNet-101",
        "Zhao et al. 2017",
        "",
        "ResNet-101 at 1/8, inference graph",
        (
            Score("Cityscapes", "val", 78.4, "RTSeg", pretrained=True),
            Score("Cityscapes", "val", 79.7, "authors", pretrained=True),
        ),
    ),
):
    """PSPNet on ResNet-101."""

    blocks: ClassVar[tuple[int, ...]] = RESNET101


def pyramid(b: Builder, x: Tensor) -> Tensor:
    """The map beside its means over grids."""
    levels = [x]
    for count in BINS:
        y = b.conv(f"conv_{count}", b.bins(f"bins_{count}", x, count), WIDTH, kernel=1, activation="relu")
        levels.append(b.resize(f"up_{count}", y, x, align_corners=True))
    return b.concat("concat", *levels)
