"""ICNet (Zhao et al. 2018) on ResNet-50 of half width, after the authors' Caffe files.

Those fix their pools for pictures of 1025×2049, with windows that overlap by more than a pixel at 3 and 6 bins; here
they are means over so many bins at any size, as in PSPNet.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.extents import Scaled
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import EMBEDDED, WORKSTATION, NetworkSpec, Published, Score, Speed
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.resnet import EXPANSION, bottleneck

ROWS = (("2", 32, 3, 1, 1), ("3", 64, 1, 2, 1), ("3b", 64, 3, 1, 1), ("4", 128, 6, 1, 2), ("5", 256, 3, 1, 4))
"""Name, channels of the 3×3 convolutions, blocks, stride of the first, dilation of all."""

BINS = (1, 2, 3, 6)
WIDTH = 128

PUBLISHED = Published(
    "ICNet",
    "Zhao et al. 2018",
    "MB",
    "half-width ResNet-50 as in the authors' Caffe files, with pools for any size; PyTorch ports are other networks",
    (
        Score("Cityscapes", "test", 70.6, "survey", pretrained=True),
        Score("CamVid", "test", 67.1, "survey"),
        Score("Cityscapes", "val", 67.7, "authors", pretrained=True),
        Score("Cityscapes", "test", 69.5, "authors", pretrained=True),
    ),
    speeds=(Speed(WORKSTATION, (1025, 2049), 111.3, "survey"), Speed(EMBEDDED, (1025, 2049), 6.1, "survey")),
)


@dataclasses.dataclass(frozen=True)
class ICNet(NetworkSpec, name="icnet", published=PUBLISHED):
    """Image cascade network."""

    def declare(self) -> Network:
        """The picture at half size to 1/32, its early map at 1/16 and the whole picture at 1/8 joined to it."""
        n = Sketch(self.num_classes)
        b = n.block("stem", "icnet_stem", "encoder")
        x = b.resize("half", n.image, Scaled(1, 2), align_corners=True)
        x = b.conv("conv_1", x, 32, stride=2, activation="relu")
        x = b.conv("conv_2", x, 32, activation="relu")
        x = b.pool("pool", b.conv("conv_3", x, 64, activation="relu"), "max")
        sixteenth = x
        for name, inner, blocks, stride, dilation in ROWS:
            for i in range(1, blocks + 1):
                b = n.block(f"row{name}_{i}", "bottleneck", "encoder")
                if (name, i) == ("3b", 1):
                    sixteenth, x = x, b.resize("half", x, Scaled(1, 2), align_corners=True)
                step = stride if i == 1 else 1
                x = bottleneck(b, x, inner, inner * EXPANSION, step, dilation=dilation, early=True)
        x = pyramid(n.block("pyramid", "icnet_pyramid", "encoder"), x)
        x = cascaded(n.block("cascade_1", "icnet_cascade", "cascade"), x, sixteenth)
        b = n.block("fine_1", "icnet_fine", "fine")
        quarter = b.conv(
            "conv_2", b.conv("conv_1", n.image, 32, stride=2, activation="relu"), 32, stride=2, activation="relu"
        )
        eighth = n.block("fine_2", "conv", "fine").conv("conv", quarter, 64, stride=2, activation="relu")
        x = cascaded(n.block("cascade_2", "icnet_cascade", "cascade"), x, eighth)
        b = n.block("head", "icnet_head", "head")
        x = n.classifier(b, b.resize("up", x, quarter, align_corners=True))
        b.resize("logits", x, n.image, align_corners=True)
        return n.network()


def pyramid(b: Builder, x: Tensor) -> Tensor:
    """The map plus its means over grids, mixed."""
    means = [b.resize(f"up_{k}", b.bins(f"bins_{k}", x, k), x, align_corners=True) for k in BINS]
    return b.conv("mix", b.sum("sum", x, *means), 2 * WIDTH, kernel=1, activation="relu")


def cascaded(b: Builder, low: Tensor, high: Tensor) -> Tensor:
    """Cascade feature fusion: the deep map, enlarged, plus the shallow one."""
    low = b.conv("low", b.resize("up", low, high, align_corners=True), WIDTH, dilation=2)
    return b.sum("sum", b.conv("high", high, WIDTH, kernel=1), low, activation="relu")
