"""LinkNet (Chaurasia and Culurciello 2017), after the authors' Torch7 code and after their later PyTorch port.

The port has neither the decoder's biases nor the ReLU behind each addition; its log-softmax is left out here.
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
    "LinkNet",
    "Chaurasia and Culurciello 2017",
    "ED",
    "the authors' Torch7 layers: biases in the decoder, ReLU behind each addition",
    (
        Score("Cityscapes", "val", 76.4, "survey", pretrained=True),
        Score("CamVid", "test", 68.3, "survey", pretrained=True),
    ),
    speeds=survey_speeds(64.4, 202.1, 352.9, 43.5),
)


@dataclasses.dataclass(frozen=True)
class LinkNet(NetworkSpec, name="linknet", published=PUBLISHED):
    """LinkNet on ResNet-18."""

    port: ClassVar[bool] = False

    def declare(self) -> Network:
        """Encoder to 1/32; decoder blocks, each plus the encoder's map of its size."""
        n = Sketch(self.num_classes)
        epsilon = 1e-5 if self.port else 1e-3
        first = resnet.stem(n.block("stem", "stem", "encoder"), n.image)
        *maps, x = resnet.basic_rows(n, first)
        for step, skip in enumerate((*reversed(maps), first), start=1):
            b = n.block(f"decoder_{step}", "linknet_decoder", "decoder", epsilon=epsilon, bias=not self.port)
            x = decoder(b, x, skip, 1 if skip is first else 2, None if self.port else "relu")
        b = n.block("head", "linknet_head", "head", epsilon=epsilon, bias=True)
        x = b.transpose("up", x, 32, kernel=3, stride=2, activation="relu")
        x = b.conv("conv", x, 32, activation="relu")
        b.resize("logits", n.transposed_classifier(b, x), n.image)
        return n.network()


@dataclasses.dataclass(frozen=True)
class LinkNetPort(
    LinkNet,
    name="linknet_port",
    published=Published(
        "LinkNet, PyTorch",
        "Chaurasia and Culurciello 2017",
        "ED",
        "the same lab's PyTorch port: no biases in the decoder's blocks, no ReLU behind additions",
    ),
):
    """LinkNet as most PyTorch users have it."""

    port: ClassVar[bool] = True


def decoder(b: Builder, x: Tensor, skip: Tensor, stride: int, activation: Activation) -> Tensor:
    """1×1, transposed 3×3, 1×1, plus the encoder's map; at stride 1 the transposed one is a convolution."""
    inner = x.channels // 4
    y = b.conv("reduce", x, inner, kernel=1, activation="relu")
    if stride == 1:
        y = b.conv("middle", y, inner, activation="relu")
    else:
        y = b.transpose("middle", y, inner, kernel=3, stride=stride, like=skip, activation="relu")
    y = b.conv("expand", y, skip.channels, kernel=1, activation="relu")
    return b.sum("sum", skip, y, activation=activation)
