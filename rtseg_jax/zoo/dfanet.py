"""DFANet-A (Li et al. 2019), with the layers of Tramac's PyTorch code; the authors published none.

There the first ReLU of a block works in place, so what decoder and later backbones read of the first backbone is after
that ReLU, and what they read of the others is not.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.operators import Activation
from rtseg_jax.architecture.sketch import Sketch

STAGES = ((48, 4), (96, 6), (192, 4))
"""Channels and blocks of each encoder stage; the first block has stride 2."""

BACKBONES = 3
ATTENTION_WIDTH = 1000
DECODER_CHANNELS = 32

PUBLISHED = Published(
    "DFANet-A",
    "Li et al. 2019",
    "AT",
    "Tramac's layers, whose cost is the published one; the survey's val and test scores hardly fit one model",
    (
        Score("Cityscapes", "val", 59.2, "survey", pretrained=True),
        Score("Cityscapes", "test", 71.3, "survey", pretrained=True),
        Score("CamVid", "test", 64.7, "survey"),
    ),
    speeds=survey_speeds(78.3, 82.0, 84.9, 20.6),
)


@dataclasses.dataclass(frozen=True)
class DFANetA(NetworkSpec, name="dfanet_a", published=PUBLISHED):
    """DFANet-A."""

    def declare(self) -> Network:
        """Three backbones, each on what the one before made, and a decoder that sums all of them at 1/4."""
        n = Sketch(self.num_classes)
        x = n.block("stem", "stem", "backbone_1").conv("conv", n.image, 8, stride=2, activation="relu")
        maps: list[Tensor] = []
        shallow: list[Tensor] = []
        deep: list[Tensor] = []
        for backbone in range(1, BACKBONES + 1):
            part = f"backbone_{backbone}"
            made: list[Tensor] = []
            for stage, (channels, blocks) in enumerate(STAGES):
                if backbone > 1:
                    b = n.block(f"{part}_join_{stage + 1}", "join", part)
                    x = join(b, maps[stage], deep[-1] if stage == 0 else x)
                for i in range(1, blocks + 1):
                    in_place = backbone == 1 and stage < len(STAGES) - 1 and i == blocks
                    b = n.block(f"{part}_{stage + 1}_{i}", "xception", part)
                    x = separable_block(b, x, channels, 2 if i == 1 else 1, "relu" if in_place else None)
                made.append(x)
            x = attention(n.block(f"{part}_attention", "channel_attention", part), x)
            maps = made
            shallow.append(made[0])
            deep.append(x)
        b = n.block("decoder", "decoder", "decoder")
        x = b.sum("sum_shallow", *(lateral(b, f"shallow_{i}", y, shallow[0]) for i, y in enumerate(shallow, start=1)))
        x = b.conv("mix", x, DECODER_CHANNELS, kernel=1, activation="relu")
        x = b.sum("sum", x, *(lateral(b, f"deep_{i}", y, shallow[0]) for i, y in enumerate(deep, start=1)))
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, x), n.image, align_corners=True)
        return n.network()


def separable(
    b: Builder, name: str, x: Tensor, channels: int, stride: int = 1, activation: Activation = None
) -> Tensor:
    """Depthwise 3×3 and 1×1, each with batch norm."""
    x = b.conv(f"{name}_depthwise", x, stride=stride)
    return b.conv(f"{name}_pointwise", x, channels, kernel=1, activation=activation)


def separable_block(b: Builder, x: Tensor, channels: int, stride: int, last: Activation) -> Tensor:
    """ReLU, then three separable convolutions, plus what the ReLU made of the input."""
    x = b.activate("relu", x, "relu")
    y = separable(b, "separable_1", x, channels // 4, activation="relu")
    y = separable(b, "separable_2", y, channels // 4, activation="relu")
    y = separable(b, "separable_3", y, channels, stride)
    if stride > 1 or x.channels != channels:
        x = b.conv("shortcut", x, channels, kernel=1, stride=stride)
    return b.sum("sum", y, x, activation=last)


def attention(b: Builder, x: Tensor) -> Tensor:
    """A map times what two layers make of its mean; the first one is that of an image classifier."""
    y = b.conv("wide", b.mean("mean", x), ATTENTION_WIDTH, kernel=1, bias=True, norm=False)
    y = b.conv("narrow", y, x.channels, kernel=1, activation="relu")
    return b.gate("gated", x, y, None)


def join(b: Builder, previous: Tensor, x: Tensor) -> Tensor:
    """A map of the backbone before, and what this one continues with."""
    return b.concat("concat", previous, enlarged(b, "up", x, previous))


def lateral(b: Builder, name: str, x: Tensor, fine: Tensor) -> Tensor:
    """Few channels at the size of the finest map."""
    x = b.conv(name, x, DECODER_CHANNELS, kernel=1, activation="relu")
    return enlarged(b, f"{name}_up", x, fine)


def enlarged(b: Builder, name: str, x: Tensor, like: Tensor) -> Tensor:
    """At the size of another map."""
    return x if x.extent == like.extent else b.resize(name, x, like, align_corners=True)
