"""LEDNet (Wang et al. 2019), after the authors' PyTorch code; its decoder is as wide as there are classes."""

import dataclasses

from rtseg_jax.architecture import operators
from rtseg_jax.architecture.builder import Builder, fixed
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.operators import Activation
from rtseg_jax.architecture.sketch import Sketch

EPSILON = 1e-3
STAGES = ((32, (1, 1, 1)), (64, (1, 1)), (128, (1, 2, 5, 9, 2, 5, 9, 17)))
"""Channels, and the dilations of what follows the downsampling."""

PUBLISHED = Published(
    "LEDNet",
    "Wang et al. 2019",
    "AT",
    "decoder of 19 channels where the release has 20; the encoder's own classifier is for pre-training and is left out",
    (Score("Cityscapes", "test", 70.6, "survey", pretrained=False),),
    speeds=survey_speeds(32.6, 103.5, 105.8, 27.7),
)


@dataclasses.dataclass(frozen=True)
class LEDNet(NetworkSpec, name="lednet", published=PUBLISHED):
    """LEDNet.

    Attributes:
      first_dropout: rate of whole maps at 1/2 and 1/4.
      dropout: the same at 1/8.
    """

    first_dropout: float = 0.03
    dropout: float = 0.3

    def declare(self) -> Network:
        """Encoder of split and shuffled channels to 1/8, attention pyramid."""
        n = Sketch(self.num_classes, epsilon=EPSILON, bias=True)
        x = n.image
        for stage, (channels, dilations) in enumerate(STAGES, start=1):
            x = downsampling(n.block(f"down_{stage}", "lednet_down", "encoder"), x, channels)
            dropout = self.dropout if stage == len(STAGES) else self.first_dropout
            for i, dilation in enumerate(dilations, start=1):
                x = split_shuffle(n.block(f"stage{stage}_{i}", "split_shuffle", "encoder"), x, dilation, dropout)
        attention = attention_pyramid(n.block("attention", "attention_pyramid", "decoder"), x)
        b = n.block("head", "head", "head")
        y = n.classifier(b, x, norm=True, activation="relu")
        z = b.conv("global", b.mean("mean", x), y.groups, kernel=1, activation="relu")
        x = b.sum("sum", b.gate("gated", y, attention, None), z)
        b.resize("logits", x, n.image, align_corners=True)
        return n.network()


def downsampling(b: Builder, x: Tensor, channels: int) -> Tensor:
    """A strided convolution beside a max-pool, then norm and ReLU; its channels are told as two halves.

    Both round odd sizes up, where PyTorch rounds pooling down and fails.
    """
    y = b.conv("conv", x, channels - x.channels, stride=2, norm=False)
    z = b.pool("pool", x, "max", window=2, padding="SAME")
    x = b.concat("concat", y, z)
    halves = tuple(fixed(f"{b.name}.{side}", channels // 2) for side in ("left", "right"))
    return b.add(operators.BatchNorm, "norm", (x,), halves, x.extent, activation="relu", epsilon=EPSILON)


def split_shuffle(b: Builder, x: Tensor, dilation: int, dropout: float) -> Tensor:
    """Each half of the channels through four asymmetric convolutions, plus the input, shuffled."""
    shapes = ((3, 1), (1, 3))
    left = factorized(b, "left", b.split("left", x, 0, 1), shapes, dilation)
    right = factorized(b, "right", b.split("right", x, 1, 2), shapes[::-1], dilation)
    left = b.dropout("left_dropout", left, dropout, maps=True)
    right = b.dropout("right_dropout", right, dropout, maps=True)
    y = b.sum("sum", x, b.concat("concat", left, right), activation="relu")
    return b.shuffle("shuffle", y, 2)


def factorized(b: Builder, name: str, x: Tensor, shapes: tuple[tuple[int, int], ...], dilation: int) -> Tensor:
    """Both kernels, then both dilated."""
    c = x.channels
    for i, distance in enumerate((1, dilation), start=1):
        end: Activation = "relu" if i == 1 else None
        x = b.conv(f"{name}_{i}a", x, c, kernel=shapes[0], dilation=distance, norm=False, activation="relu")
        x = b.conv(f"{name}_{i}b", x, c, kernel=shapes[1], dilation=distance, activation=end)
    return x


def attention_pyramid(b: Builder, x: Tensor) -> Tensor:
    """One channel out of three scales."""
    half = b.conv("half", x, 1, kernel=7, stride=2, activation="relu")
    quarter = b.conv("quarter", half, 1, kernel=5, stride=2, activation="relu")
    y = b.conv("eighth_1", quarter, 1, stride=2, activation="relu")
    y = b.conv("eighth_2", y, 1, activation="relu")
    y = b.resize("up_1", y, quarter, align_corners=True)
    y = b.sum("sum_1", b.conv("quarter_2", quarter, 1, kernel=5, activation="relu"), y)
    y = b.resize("up_2", y, half, align_corners=True)
    y = b.sum("sum_2", b.conv("half_2", half, 1, kernel=7, activation="relu"), y)
    return b.resize("up_3", y, x, align_corners=True)
