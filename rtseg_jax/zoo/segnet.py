"""SegNet and SegNet-Basic (Badrinarayanan et al. 2017), after the authors' Caffe files for inference.

Unpooling puts a value wherever its window had its maximum, see `operators.Unpool`. SegNet-Basic's file normalises the
picture across its channels first; that has no parameters, and the usual standardisation of pictures stands in for it.
"""

import dataclasses
from typing import NamedTuple

from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG16's convolutions, between poolings."""

DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))
"""The encoder in reverse; the last convolution of a level has the next one's channels, or the classes."""

BASIC_CHANNELS = 64
BASIC_LEVELS = 4
BASIC_KERNEL = 7


class Pooled(NamedTuple):
    """A pooling that is undone later: what went in, and what came out."""

    before: Tensor
    after: Tensor


@dataclasses.dataclass(frozen=True)
class SegNet(
    NetworkSpec,
    name="segnet",
    published=Published(
        "SegNet",
        "Badrinarayanan et al. 2017",
        "ED",
        "VGG16; the 1.4 million parameters that the survey prints are SegNet-Basic's",
        (Score("Cityscapes", "test", 56.1, "survey", pretrained=True),),
        speeds=survey_speeds(9.2, 34.4, 126.5, 6.4),
    ),
):
    """SegNet on VGG16."""

    def declare(self) -> Network:
        """VGG16's convolutions, and the same in reverse."""
        n = Sketch(self.num_classes, bias=True)
        x = n.image
        levels = []
        for level, widths in enumerate(ENCODER, start=1):
            b = n.block(f"encoder_{level}", "segnet_encoder", "encoder")
            for i, channels in enumerate(widths, start=1):
                x = b.conv(f"conv_{i}", x, channels, activation="relu")
            levels.append(pool(n, level, x))
            x = levels[-1].after
        for widths, level in zip(DECODER, range(len(levels), 0, -1), strict=True):
            b = n.block(f"decoder_{level}", "segnet_decoder", "decoder")
            x = b.unpool("unpool", x, *levels[level - 1])
            for i, channels in enumerate(widths, start=1):
                x = b.conv(f"conv_{i}", x, channels, activation="relu")
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, x, kernel=3), n.image)
        return n.network()


@dataclasses.dataclass(frozen=True)
class SegNetBasic(
    NetworkSpec,
    name="segnet_basic",
    published=Published(
        "SegNet-Basic",
        "Badrinarayanan et al. 2017",
        "ED",
        "four levels of 7×7 convolutions; the survey prints its 1.4 million parameters beside SegNet's score",
    ),
):
    """SegNet-Basic."""

    def declare(self) -> Network:
        """Four levels there, four back; no activation on the way back."""
        n = Sketch(self.num_classes, bias=True)
        x = n.image
        levels = []
        for level in range(1, BASIC_LEVELS + 1):
            b = n.block(f"encoder_{level}", "segnet_encoder", "encoder")
            x = b.conv("conv", x, BASIC_CHANNELS, kernel=BASIC_KERNEL, activation="relu")
            levels.append(pool(n, level, x))
            x = levels[-1].after
        for level in range(BASIC_LEVELS, 0, -1):
            b = n.block(f"decoder_{level}", "segnet_decoder", "decoder")
            x = b.unpool("unpool", x, *levels[level - 1])
            x = b.conv("conv", x, BASIC_CHANNELS, kernel=BASIC_KERNEL)
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, x), n.image)
        return n.network()


def pool(n: Sketch, level: int, x: Tensor) -> Pooled:
    """A max-pool that rounds odd sizes up, as Caffe does; a block of its own, since the decoder reads it too."""
    b = n.block(f"pool_{level}", "max_pool", "encoder")
    return Pooled(x, b.pool("pool", x, "max", window=2, padding="SAME"))
