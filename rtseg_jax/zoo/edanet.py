"""EDANet (Lo et al. 2019), after the authors' layer tables and a PyTorch port of them."""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch

FIRST = (1, 1, 1, 2, 2)
SECOND = (2, 2, 4, 4, 8, 8, 16, 16)
"""Dilations of the modules at 1/4 and at 1/8."""

GROWTH = 40

PUBLISHED = Published(
    "EDANet",
    "Lo et al. 2019",
    "ED",
    "whole picture in, class map at 1/8 enlarged with aligned corners as in the ports",
    (
        Score("Cityscapes", "test", 67.3, "survey", pretrained=False),
        Score("CamVid", "test", 66.4, "survey", pretrained=False),
    ),
    speeds=survey_speeds(56.2, 194.9, 202.1, 36.6),
)


@dataclasses.dataclass(frozen=True)
class EDANet(NetworkSpec, name="edanet", published=PUBLISHED):
    """EDANet.

    Attributes:
      dropout: rate of whole maps in each module.
    """

    dropout: float = 0.02

    def declare(self) -> Network:
        """Two densely connected stages of asymmetric convolutions."""
        n = Sketch(self.num_classes, bias=True)
        x = downsampling(n.block("down_1", "edanet_down", "encoder"), n.image, 15)
        x = downsampling(n.block("down_2", "edanet_down", "encoder"), x, 60)
        for i, dilation in enumerate(FIRST, start=1):
            x = module(n.block(f"stage1_{i}", "dense_asymmetric", "encoder"), x, dilation, self.dropout)
        x = downsampling(n.block("down_3", "edanet_down", "encoder"), x, 130)
        for i, dilation in enumerate(SECOND, start=1):
            x = module(n.block(f"stage2_{i}", "dense_asymmetric", "encoder"), x, dilation, self.dropout)
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, x), n.image, align_corners=True)
        return n.network()


def downsampling(b: Builder, x: Tensor, channels: int) -> Tensor:
    """A strided convolution, beside a max-pool where channels grow; both round odd sizes up."""
    if channels <= x.channels:
        return b.conv("conv", x, channels, stride=2, activation="relu")
    y = b.conv("conv", x, channels - x.channels, stride=2, norm=False)
    z = b.pool("pool", x, "max", window=2, padding="SAME")
    return b.norm("norm", b.concat("concat", y, z), "relu")


def module(b: Builder, x: Tensor, dilation: int, dropout: float) -> Tensor:
    """1×1, then 3×1 and 1×3 twice, the second time dilated; the result before the input."""
    y = b.conv("reduce", x, GROWTH, kernel=1, activation="relu")
    for i, distance in enumerate((1, dilation), start=1):
        y = b.conv(f"rows_{i}", y, GROWTH, kernel=(3, 1), dilation=distance, norm=False)
        y = b.conv(f"columns_{i}", y, GROWTH, kernel=(1, 3), dilation=distance, activation="relu")
    return b.concat("concat", b.dropout("dropout", y, dropout, maps=True), x)
