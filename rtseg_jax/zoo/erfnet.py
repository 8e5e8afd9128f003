"""ERFNet (Romera et al. 2018), after the authors' PyTorch code.

Of maps of odd sizes the last row and column are pooled too, as the convolution beside has it; the original takes even
sizes only.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch

DILATIONS = (2, 4, 8, 16, 2, 4, 8, 16)

PUBLISHED = Published(
    "ERFNet",
    "Romera et al. 2018",
    "ED",
    "the authors' layers; the encoder's own classifier is for pre-training and is left out",
    (
        Score("Cityscapes", "test", 69.7, "survey", pretrained=True),
        Score("Cityscapes", "val", 72.1, "authors", pretrained=True),
        Score("Cityscapes", "test", 69.8, "authors", pretrained=True),
    ),
    speeds=survey_speeds(37.4, 135.5, 232.2, 19.8),
)


@dataclasses.dataclass(frozen=True)
class ERFNet(NetworkSpec, name="erfnet", published=PUBLISHED):
    """ERFNet.

    Attributes:
      first_dropout: rate of whole maps at 1/4.
      dropout: the same at 1/8.
    """

    first_dropout: float = 0.03
    dropout: float = 0.3

    def declare(self) -> Network:
        """Encoder to 1/8, decoder back by transposed convolutions."""
        n = Sketch(self.num_classes, epsilon=1e-3, bias=True)
        x = downsampler(n.block("down_1", "erfnet_down", "encoder"), n.image, 16)
        x = downsampler(n.block("down_2", "erfnet_down", "encoder"), x, 64)
        for i in range(1, 6):
            x = factorized(n.block(f"encoder_1_{i}", "factorized", "encoder"), x, 1, self.first_dropout)
        x = downsampler(n.block("down_3", "erfnet_down", "encoder"), x, 128)
        for i, dilation in enumerate(DILATIONS, start=1):
            x = factorized(n.block(f"encoder_2_{i}", "factorized", "encoder"), x, dilation, self.dropout)
        for stage, channels in enumerate((64, 16), start=1):
            b = n.block(f"up_{stage}", "erfnet_up", "decoder")
            x = b.transpose("conv", x, channels, kernel=3, stride=2, activation="relu")
            for i in (1, 2):
                x = factorized(n.block(f"decoder_{stage}_{i}", "factorized", "decoder"), x, 1, 0.0)
        b = n.block("head", "head", "head")
        b.resize("logits", n.transposed_classifier(b, x), n.image)
        return n.network()


def downsampler(b: Builder, x: Tensor, channels: int) -> Tensor:
    """A strided convolution beside a max-pool, then norm and ReLU."""
    y = b.conv("conv", x, channels - x.channels, stride=2, norm=False)
    z = b.pool("pool", x, "max", window=2, padding="SAME")
    return b.norm("norm", b.concat("concat", y, z), "relu")


def factorized(b: Builder, x: Tensor, dilation: int, dropout: float) -> Tensor:
    """Non-bottleneck-1D: 3×1 and 1×3 twice, the second time dilated, plus the input."""
    c = x.channels
    y = b.conv("rows_1", x, c, kernel=(3, 1), norm=False, activation="relu")
    y = b.conv("columns_1", y, c, kernel=(1, 3), activation="relu")
    y = b.conv("rows_2", y, c, kernel=(3, 1), dilation=dilation, norm=False, activation="relu")
    y = b.conv("columns_2", y, c, kernel=(1, 3), dilation=dilation)
    y = b.dropout("dropout", y, dropout, maps=True)
    return b.sum("sum", x, y, activation="relu")
