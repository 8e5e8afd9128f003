"""RGPNet (Arani et al. 2021) on ResNet-18 and ResNet-101, after the code of the authors' laboratory."""

import abc
import dataclasses

from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo import resnet
from rtseg_jax.zoo.resnet import WIDTHS
from rtseg_jax.zoo.shelfnet import shared


@dataclasses.dataclass(frozen=True)
class RGPNet(NetworkSpec):
    """Encoder, adaptors at four sizes, decoder with the shared blocks of ShelfNet.

    Attributes:
      dropout: rate of whole maps within the shared blocks.
    """

    dropout: float = 0.25

    @abc.abstractmethod
    def rows(self, n: Sketch, x: Tensor) -> list[Tensor]:
        """The encoder's maps at 1/4 to 1/32."""

    def declare(self) -> Network:
        """Each size of the decoder reads the adaptor's map of that size and of the next larger one."""
        n = Sketch(self.num_classes)
        maps = self.rows(n, resnet.stem(n.block("stem", "stem", "encoder"), n.image))
        adapted, sent = [], []
        for i, (y, channels) in enumerate(zip(maps, WIDTHS, strict=True), start=1):
            b = n.block(f"adaptor_{i}", "adaptor", "adaptor")
            adapted.append(b.conv("conv", y, channels, kernel=1, activation="relu"))
        for i, (y, channels) in enumerate(zip(adapted[:-1], WIDTHS[1:], strict=True), start=1):
            b = n.block(f"down_{i}", "adaptor_down", "adaptor")
            sent.append(b.conv("conv", y, channels, stride=2, bias=True, norm=False, activation="relu"))
        b = n.block("decoder_1", "rgpnet_bottom", "decoder")
        x = shared(b, b.sum("joined", adapted[-1], sent[-1]), self.dropout, "relu")
        steps = zip(reversed(adapted[:-1]), [*reversed(sent[:-1]), None], strict=True)
        for i, (y, finer) in enumerate(steps, start=2):
            b = n.block(f"decoder_{i}", "rgpnet_up", "decoder")
            x = b.transpose("up", x, y.channels, kernel=3, stride=2, like=y, bias=True, norm=False)
            x = shared(b, b.sum("joined", y, x, *(() if finer is None else (finer,))), self.dropout, "relu")
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, x), n.image, align_corners=True)
        return n.network()


def published(depth: int) -> Published:
    """What is printed of one of the depths."""
    return Published(f"RGPNet-{depth}", "Arani et al. 2021", "ED", f"on ResNet-{depth}")


@dataclasses.dataclass(frozen=True)
class RGPNet18(RGPNet, name="rgpnet_18", published=published(18)):
    """RGPNet on ResNet-18."""

    def rows(self, n: Sketch, x: Tensor) -> list[Tensor]:
        """Of basic blocks."""
        return resnet.basic_rows(n, x)


@dataclasses.dataclass(frozen=True)
class RGPNet101(RGPNet, name="rgpnet_101", published=published(101)):
    """RGPNet on ResNet-101."""

    def rows(self, n: Sketch, x: Tensor) -> list[Tensor]:
        """Of bottlenecks."""
        return resnet.bottleneck_rows(n, x, resnet.RESNET101)
