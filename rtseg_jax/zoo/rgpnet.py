"""RGPNet (Arani et al. 2021) on ResNet-18 and ResNet-101, after code of the authors' group."""

import abc
import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo import resnet

EXPANSION = 4
"""Channels of a bottleneck of ResNet-101 over those inside."""


@dataclasses.dataclass(frozen=True)
class RGPNet(NetworkSpec):
    """RGPNet.

    Attributes:
      dropout: rate of whole maps in the blocks of the decoder.
    """

    dropout: float = 0.25

    def declare(self) -> Network:
        """Encoder, an adaptor for every map, and a decoder that also reads the finer map above."""
        n = Sketch(self.num_classes)
        maps = self.encoder(n)
        adapted = []
        for level, (x, channels) in enumerate(zip(maps, resnet.WIDTHS, strict=True), start=1):
            b = n.block(f"adaptor_{level}", "adaptor", "decoder")
            adapted.append(b.conv("conv", x, channels, kernel=1, activation="relu"))
        sent = []
        for level, (x, channels) in enumerate(zip(adapted[:-1], resnet.WIDTHS[1:], strict=True), start=1):
            b = n.block(f"sent_down_{level}", "sent_down", "decoder")
            sent.append(b.conv("conv", x, channels, stride=2, bias=True, norm=False, activation="relu"))
        b = n.block("decoder_4", "shared_residual", "decoder")
        x = shared_residual(b, b.sum("sum", adapted[3], sent[2]), self.dropout)
        for level in (3, 2, 1):
            b = n.block(f"decoder_{level}", "rgp_decoder", "decoder")
            here = adapted[level - 1]
            y = b.transpose("up", x, here.channels, kernel=3, stride=2, like=here, bias=True, norm=False)
            x = shared_residual(b, b.sum("sum", y, here, *sent[level - 2 : level - 1]), self.dropout)
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, x), n.image, align_corners=True)
        return n.network()

    @abc.abstractmethod
    def encoder(self, n: Sketch) -> list[Tensor]:
        """Maps at 1/4, 1/8, 1/16, 1/32."""


@dataclasses.dataclass(frozen=True)
class RGPNet18(
    RGPNet,
    name="rgpnet_18",
    published=Published(
        "RGPNet-18", "Arani et al. 2021", "ED", "ResNet-18; each block of the decoder uses one kernel twice"
    ),
):
    """RGPNet on ResNet-18."""

    def encoder(self, n: Sketch) -> list[Tensor]:
        """ResNet-18."""
        return resnet.basic_rows(n, resnet.stem(n.block("stem", "stem", "encoder"), n.image))


@dataclasses.dataclass(frozen=True)
class RGPNet101(
    RGPNet,
    name="rgpnet_101",
    published=Published(
        "RGPNet-101", "Arani et al. 2021", "ED", "ResNet-101; each block of the decoder uses one kernel twice"
    ),
):
    """RGPNet on ResNet-101."""

    def encoder(self, n: Sketch) -> list[Tensor]:
        """ResNet-101, strides in the 3×3 convolutions."""
        x = resnet.stem(n.block("stem", "stem", "encoder"), n.image)
        maps = []
        for row, (inner, blocks) in enumerate(zip(resnet.WIDTHS, resnet.RESNET101, strict=True), start=1):
            for i in range(1, blocks + 1):
                stride = 2 if i == 1 and row > 1 else 1
                b = n.block(f"layer{row}_{i}", "bottleneck_down" if stride > 1 else "bottleneck", "encoder")
                x = resnet.bottleneck(b, x, inner, EXPANSION * inner, stride)
            maps.append(x)
        return maps


def shared_residual(b: Builder, x: Tensor, dropout: float) -> Tensor:
    """One 3×3 convolution, used twice, each time with a norm of its own, plus the input."""
    y = b.conv("conv", x, x.groups, bias=True, activation="relu")
    y = b.dropout("dropout", y, dropout, maps=True)
    y = b.conv("again", y, x.groups, bias=True, shared="conv")
    return b.sum("residual", x, y, activation="relu")
