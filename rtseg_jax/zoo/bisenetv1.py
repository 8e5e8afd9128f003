"""BiSeNet (Yu et al. 2018) on ResNet-18, after TorchSeg, the code of the paper's author, and after CoinCheung's.

Auxiliary heads are left out. CoinCheung's resizes the context path to the nearest pixel, has one convolution with batch
norm as the gate of the fusion, and a head of 256 channels.
"""

import dataclasses
from typing import ClassVar

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.operators import Activation
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo import resnet

PUBLISHED = Published(
    "BiSeNet",
    "Yu et al. 2018",
    "MB",
    "ResNet-18 as in TorchSeg, with a head of 64 channels; the survey does not say which of the two it timed",
    (
        Score("Cityscapes", "val", 74.8, "survey", pretrained=True),
        Score("Cityscapes", "test", 74.7, "survey", pretrained=True),
        Score("CamVid", "test", 68.7, "survey"),
    ),
    speeds=survey_speeds(54.1, 189.8, 382.7, 44.0),
)


@dataclasses.dataclass(frozen=True)
class BiSeNetV1(NetworkSpec, name="bisenetv1", published=PUBLISHED):
    """BiSeNet on ResNet-18."""

    coincheung: ClassVar[bool] = False

    def declare(self) -> Network:
        """Spatial path to 1/8, context path to 1/32 and back, fusion, head."""
        n = Sketch(self.num_classes)
        b = n.block("spatial", "bisenet_spatial", "spatial")
        spatial = b.conv("conv_1", n.image, 64, kernel=7, stride=2, activation="relu")
        spatial = b.conv("conv_2", spatial, 64, stride=2, activation="relu")
        spatial = b.conv("conv_3", spatial, 64, stride=2, activation="relu")
        spatial = b.conv("conv_4", spatial, 128, kernel=1, activation="relu")
        x = resnet.stem(n.block("stem", "stem", "encoder"), n.image)
        _, eighth, sixteenth, deepest = resnet.basic_rows(n, x)
        b = n.block("context", "bisenet_context", "context")
        y = b.conv("global", b.mean("mean", deepest), 128, kernel=1, activation="relu")
        y = b.sum("sum_1", refined(b, "refine_1", deepest), y)
        y = b.conv("conv_1", self._up(b, "up_1", y, sixteenth), 128, activation="relu")
        y = b.sum("sum_2", refined(b, "refine_2", sixteenth), y)
        y = b.conv("conv_2", self._up(b, "up_2", y, eighth), 128, activation="relu")
        b = n.block("fusion", "feature_fusion", "fusion")
        x = fusion(b, spatial, y, squeezed=None if self.coincheung else 256)
        b = n.block("head", "head", "head")
        x = n.classifier(b, b.conv("conv", x, 256 if self.coincheung else 64, activation="relu"))
        b.resize("logits", x, n.image, align_corners=not self.coincheung)
        return n.network()

    def _up(self, b: Builder, name: str, x: Tensor, to: Tensor) -> Tensor:
        if self.coincheung:
            return b.resize(name, x, to, "nearest")
        return b.resize(name, x, to, align_corners=True)


@dataclasses.dataclass(frozen=True)
class BiSeNetV1CoinCheung(
    BiSeNetV1,
    name="bisenetv1_coincheung",
    published=Published(
        "BiSeNet, CoinCheung", "Yu et al. 2018", "MB", "ResNet-18 as in CoinCheung's code, with a head of 256 channels"
    ),
):
    """BiSeNet on ResNet-18 as in the most used PyTorch code."""

    coincheung: ClassVar[bool] = True


def refined(b: Builder, name: str, x: Tensor, channels: int = 128, activation: Activation = "relu") -> Tensor:
    """Attention refinement: a convolution, gated by its own mean."""
    x = b.conv(f"{name}_conv", x, channels, activation=activation)
    gate = b.conv(f"{name}_mix", b.mean(f"{name}_mean", x), channels, kernel=1)
    return b.gate(f"{name}_gated", x, gate)


def fusion(b: Builder, fine: Tensor, context: Tensor, channels: int = 256, *, squeezed: int | None) -> Tensor:
    """Feature fusion: both maps mixed, plus the result gated by its own mean.

    The gate has two convolutions, `squeezed` channels between them, or one with batch norm where that is None.
    """
    x = b.conv("mix", b.concat("concat", fine, context), channels, kernel=1, activation="relu")
    gate = b.mean("mean", x)
    if squeezed is not None:
        gate = b.conv("squeeze", gate, squeezed, kernel=1, norm=False, activation="relu")
    gate = b.conv("excite", gate, channels, kernel=1, norm=squeezed is None)
    return b.sum("sum", x, b.gate("gated", x, gate))
