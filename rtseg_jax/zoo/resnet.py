"""ResNet (He et al. 2016) as an encoder: stem, blocks, and the four maps that decoders read."""

from collections.abc import Sequence

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Tensor
from rtseg_jax.architecture.operators import Activation
from rtseg_jax.architecture.sketch import Sketch

RESNET18 = (2, 2, 2, 2)
RESNET34 = (3, 4, 6, 3)
RESNET50 = (3, 4, 6, 3)
RESNET101 = (3, 4, 23, 3)
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4  # of bottlenecks


def stem(b: Builder, image: Tensor, activation: Activation = "relu") -> Tensor:
    """To 1/4: 7×7 at stride 2, then a max-pool."""
    return b.pool("pool", b.conv("conv", image, 64, kernel=7, stride=2, activation=activation), "max")


def basic_rows(
    n: Sketch,
    x: Tensor,
    blocks: Sequence[int] = RESNET18,
    strides: Sequence[int] = (1, 2, 2, 2),
    *,
    inner: Activation = "relu",
) -> list[Tensor]:
    """Rows of basic blocks; the last map of each."""
    maps = []
    for row, (channels, count, stride) in enumerate(zip(WIDTHS, blocks, strides, strict=True), start=1):
        for i in range(1, count + 1):
            b = n.block(f"layer{row}_{i}", "basic_down" if i == 1 and stride > 1 else "basic", "encoder")
            x = basic(b, x, channels, stride if i == 1 else 1, inner=inner)
        maps.append(x)
    return maps


def bottleneck_rows(
    n: Sketch,
    x: Tensor,
    blocks: Sequence[int],
    strides: Sequence[int] = (1, 2, 2, 2),
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> list[Tensor]:
    """Rows of bottlenecks; the last map of each."""
    maps = []
    rows = zip(WIDTHS, blocks, strides, dilations, strict=True)
    for row, (inner, count, stride, dilation) in enumerate(rows, start=1):
        for i in range(1, count + 1):
            b = n.block(f"layer{row}_{i}", "bottleneck_down" if i == 1 and stride > 1 else "bottleneck", "encoder")
            x = bottleneck(b, x, inner, inner * EXPANSION, stride if i == 1 else 1, dilation=dilation)
        maps.append(x)
    return maps


def basic(
    b: Builder, x: Tensor, channels: int, stride: int = 1, *, inner: Activation = "relu", last: Activation = "relu"
) -> Tensor:
    """Two 3×3 convolutions, plus the input."""
    y = b.conv("conv_1", x, channels, stride=stride, activation=inner)
    y = b.conv("conv_2", y, channels)
    return b.sum("sum", shortcut(b, x, channels, stride), y, activation=last)


def bottleneck(
    b: Builder,
    x: Tensor,
    inner: int,
    channels: int,
    stride: int = 1,
    *,
    dilation: int = 1,
    early: bool = False,
    last: Activation = "relu",
) -> Tensor:
    """1×1, 3×3, 1×1, plus the input; the stride is that of the 3×3, or of the first 1×1 where `early`."""
    first, second = (stride, 1) if early else (1, stride)
    y = b.conv("conv_1", x, inner, kernel=1, stride=first, activation="relu")
    y = b.conv("conv_2", y, inner, stride=second, dilation=dilation, activation="relu")
    y = b.conv("conv_3", y, channels, kernel=1)
    return b.sum("sum", shortcut(b, x, channels, stride), y, activation=last)


def shortcut(b: Builder, x: Tensor, channels: int, stride: int) -> Tensor:
    """The input, through a 1×1 convolution where the shape changes."""
    if stride == 1 and x.channels == channels:
        return x
    return b.conv("shortcut", x, channels, kernel=1, stride=stride)


def preactivated(b: Builder, name: str, x: Tensor, channels: int, *, kernel: int = 1, groups: int = 1) -> Tensor:
    """Batch norm, ReLU, convolution, in this order."""
    x = b.norm(f"{name}_norm", x, "relu")
    return b.conv(f"{name}_conv", x, channels, kernel=kernel, groups=groups, norm=False)
