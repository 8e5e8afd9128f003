"""Fast-SCNN (Poudel et al. 2019), with the layers of Tramac's PyTorch code; the authors published none.

The stem is not padded; the paper leaves out the ReLU inside the separable convolutions, this code does not.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.mobilenetv2 import inverted_residual

ROWS = ((64, 3, 2), (96, 3, 2), (128, 3, 1))  # channels, blocks, stride of the first
EXPANSION = 6
BINS = (1, 2, 3, 6)

PUBLISHED = Published(
    "Fast-SCNN",
    "Poudel et al. 2019",
    "ED",
    "Tramac's layers: unpadded stem, ReLU inside separable convolutions, a depthwise convolution in the fusion",
    (Score("Cityscapes", "val", 69.2, "survey"), Score("Cityscapes", "test", 68.0, "survey", pretrained=False)),
    speeds=survey_speeds(196.1, 348.2, 355.1, 78.5),
)


@dataclasses.dataclass(frozen=True)
class FastSCNN(NetworkSpec, name="fast_scnn", published=PUBLISHED):
    """Fast-SCNN.

    Attributes:
      dropout: rate before the classifier.
    """

    dropout: float = 0.1

    def declare(self) -> Network:
        """Learning to downsample, global features, fusion, classifier."""
        n = Sketch(self.num_classes)
        b = n.block("stem", "separable", "downsample")
        x = b.conv("conv", n.image, 32, stride=2, padding="VALID", activation="relu")
        x = separable(b, "separable_1", x, 48, stride=2)
        high = x = separable(b, "separable_2", x, 64, stride=2)
        for row, (channels, blocks, stride) in enumerate(ROWS, start=1):
            for i in range(1, blocks + 1):
                b = n.block(f"bottleneck_{row}_{i}", "inverted_residual", "features")
                x = inverted_residual(b, x, channels, EXPANSION, stride if i == 1 else 1, activation="relu")
        x = pyramid(n.block("pyramid", "pyramid", "features"), x, BINS, 128)
        x = fusion(n.block("fusion", "fusion", "fusion"), high, x, 128)
        b = n.block("head", "head", "head")
        x = separable(b, "separable_1", x, 128)
        x = separable(b, "separable_2", x, 128)
        x = n.classifier(b, b.dropout("dropout", x, self.dropout))
        b.resize("logits", x, n.image, align_corners=True)
        return n.network()


def separable(b: Builder, name: str, x: Tensor, channels: int, stride: int = 1, dilation: int = 1) -> Tensor:
    """Depthwise 3×3 and 1×1, each with batch norm and ReLU."""
    x = b.conv(f"{name}_depthwise", x, stride=stride, dilation=dilation, activation="relu")
    return b.conv(f"{name}_pointwise", x, channels, kernel=1, activation="relu")


def pyramid(b: Builder, x: Tensor, bins: tuple[int, ...], channels: int) -> Tensor:
    """Means over grids of bins, each through a 1×1 convolution and back, beside the map."""
    levels = [x]
    for count in bins:
        y = b.bins(f"bins_{count}", x, count)
        y = b.conv(f"conv_{count}", y, x.channels // len(bins), kernel=1, activation="relu")
        levels.append(b.resize(f"up_{count}", y, x, align_corners=True))
    return b.conv("join", b.concat("concat", *levels), channels, kernel=1, activation="relu")


def fusion(b: Builder, high: Tensor, low: Tensor, channels: int) -> Tensor:
    """The deep map, enlarged, plus the shallow one."""
    low = b.resize("up", low, high, align_corners=True)
    low = b.conv("depthwise", low, activation="relu")
    low = b.conv("low", low, channels, kernel=1, bias=True)
    high = b.conv("high", high, channels, kernel=1, bias=True)
    return b.sum("sum", high, low, activation="relu")
