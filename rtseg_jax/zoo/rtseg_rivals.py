"""Networks on MobileNetV2 that RTSeg's tables compare with, as far as their printed costs tell what they are.

No source says which layers these are; they are inferred: of the variants in public code they are the ones whose
parameters and multiply-accumulates are those of the tables.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.fast_scnn import separable
from rtseg_jax.zoo.mobilenetv2 import encoder

TO_8 = ((1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 4, 4))
TO_16 = ((1, 2, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 2, 2))
"""Strides and dilations of MobileNetV2's rows."""

FINE_ROW, FINE = 1, 48
DILATIONS = (6, 12, 18)
BINS = (1, 2, 3, 6)


@dataclasses.dataclass(frozen=True)
class DeepLabV3PlusSmall(
    NetworkSpec,
    name="deeplabv3plus_small",
    published=Published(
        "DeepLabV3+ small",
        "Chen et al. 2018",
        "",
        "inferred from RTSeg's table 1: 2.26 million parameters, 9.5 · 2³⁰ MACs; no dilated level in the pyramid",
        (
            Score("Cityscapes", "val", 69.0, "RTSeg", pretrained=True),
            Score("Cityscapes", "test", 68.6, "RTSeg", pretrained=True),
        ),
    ),
):
    """DeepLabV3+ on MobileNetV2 whose pyramid has a 1×1 convolution and the mean alone."""

    dropout: float = 0.1

    def declare(self) -> Network:
        """Encoder to 1/16, two levels, separable decoder at 1/4."""
        n = Sketch(self.num_classes)
        maps = encoder(n, *TO_16)
        b, x = n.block("pyramid", "small_pyramid", "pyramid"), maps[-1]
        y = b.concat("concat", b.conv("level_1", x, 256, kernel=1, activation="relu"), mean_level(b, x, 256))
        y = b.dropout("dropout", b.conv("join", y, 256, kernel=1, activation="relu"), self.dropout)
        decoder(n, y, maps[FINE_ROW], 256)
        return n.network()


@dataclasses.dataclass(frozen=True)
class DeepLabV3PlusWide(
    NetworkSpec,
    name="deeplabv3plus_wide",
    published=Published(
        "DeepLabV3+ wide",
        "Chen et al. 2018",
        "",
        "inferred from RTSeg's table 3: mmsegmentation's separable head, 512 wide, at output stride 16",
        (Score("ADE20K", "val", 38.1, "RTSeg"),),
    ),
):
    """DeepLabV3+ on MobileNetV2 with a separable head of 512 channels."""

    dropout: float = 0.1

    def declare(self) -> Network:
        """Encoder to 1/16, pyramid of dilated separable convolutions, separable decoder at 1/4."""
        n = Sketch(self.num_classes)
        maps = encoder(n, *TO_16)
        b, x = n.block("pyramid", "separable_pyramid", "pyramid"), maps[-1]
        levels = [mean_level(b, x, 512), b.conv("level_1", x, 512, kernel=1, activation="relu")]
        levels += [separable(b, f"level_{dilation}", x, 512, dilation=dilation) for dilation in DILATIONS]
        y = b.conv("join", b.concat("concat", *levels), 512, activation="relu")
        decoder(n, y, maps[FINE_ROW], 512, self.dropout)
        return n.network()


@dataclasses.dataclass(frozen=True)
class PSPNetMobile(
    NetworkSpec,
    name="pspnet_mobilenetv2",
    published=Published(
        "PSPNet on MobileNetV2",
        "Zhao et al. 2017",
        "",
        "inferred from RTSeg's table 3: mmsegmentation's head, 512 wide, at output stride 8",
        (Score("ADE20K", "val", 29.6, "RTSeg"),),
    ),
):
    """PSPNet on MobileNetV2."""

    dropout: float = 0.1

    def declare(self) -> Network:
        """Dilated encoder at 1/8, pyramid, classifier."""
        n = Sketch(self.num_classes)
        x = encoder(n, *TO_8)[-1]
        b = n.block("pyramid", "pspnet_pyramid", "pyramid")
        levels = [x]
        for count in BINS:
            y = b.conv(f"conv_{count}", b.bins(f"bins_{count}", x, count), 512, kernel=1, activation="relu")
            levels.append(b.resize(f"up_{count}", y, x))
        x = b.concat("concat", *levels)
        b = n.block("head", "head", "head")
        x = b.dropout("dropout", b.conv("conv", x, 512, activation="relu"), self.dropout, maps=True)
        b.resize("logits", n.classifier(b, x), n.image)
        return n.network()


def mean_level(b: Builder, x: Tensor, channels: int) -> Tensor:
    """The mean of the map through a 1×1 convolution, at every pixel."""
    y = b.conv("global", b.mean("mean", x), channels, kernel=1, activation="relu")
    return b.resize("global_up", y, x)


def decoder(n: Sketch, x: Tensor, fine: Tensor, channels: int, dropout: float = 0.0) -> None:
    """Beside the map at 1/4 two separable convolutions, then the classes."""
    b = n.block("head", "separable_head", "head")
    y = b.conv("fine", fine, FINE, kernel=1, activation="relu")
    x = b.concat("concat", b.resize("up", x, fine), y)
    x = separable(b, "conv_2", separable(b, "conv_1", x, channels), channels)
    b.resize("logits", n.classifier(b, b.dropout("dropout", x, dropout, maps=True)), n.image)
