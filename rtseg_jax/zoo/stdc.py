"""STDC1 and STDC2 (Fan et al. 2021), after the authors' code; the detail head and other side heads are for training."""

import dataclasses
from typing import ClassVar

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.bisenetv1 import fusion, refined

ROWS = (256, 512, 1024)


@dataclasses.dataclass(frozen=True)
class STDC(NetworkSpec):
    """Short-term dense concatenation network.

    Attributes:
      blocks: in each row; the first has stride 2.
    """

    blocks: ClassVar[tuple[int, int, int]]

    def declare(self) -> Network:
        """Trunk, context path, fusion with the map at 1/8, head."""
        n = Sketch(self.num_classes)
        eighth, sixteenth, deepest = trunk(n, self.blocks)
        b = n.block("context", "stdc_context", "context")
        y = b.conv("global", b.mean("mean", deepest), 128, kernel=1, activation="relu")
        y = b.sum("sum_1", refined(b, "refine_1", deepest), y)
        y = b.conv("conv_1", b.resize("up_1", y, sixteenth, "nearest"), 128, activation="relu")
        y = b.sum("sum_2", refined(b, "refine_2", sixteenth), y)
        y = b.conv("conv_2", b.resize("up_2", y, eighth, "nearest"), 128, activation="relu")
        x = fusion(n.block("fusion", "feature_fusion", "fusion"), eighth, y, squeezed=64)
        b = n.block("head", "head", "head")
        x = n.classifier(b, b.conv("conv", x, 256, activation="relu"), bias=False)
        b.resize("logits", x, n.image, align_corners=True)
        return n.network()


@dataclasses.dataclass(frozen=True)
class STDC1(
    STDC,
    name="stdc1",
    published=Published(
        "STDC1",
        "Fan et al. 2021",
        "TO",
        "inference graph; the survey quotes the scores at 75 % of full size, RTSeg those at 50 %",
        (
            Score("Cityscapes", "val", 74.5, "survey", pretrained=True),
            Score("Cityscapes", "test", 75.3, "survey", pretrained=True),
            Score("Cityscapes", "val", 72.2, "RTSeg", pretrained=True),
            Score("Cityscapes", "test", 71.9, "RTSeg", pretrained=True),
        ),
        speeds=survey_speeds(49.1, 136.0, 195.3, 35.0),
    ),
):
    """STDC1."""

    blocks: ClassVar[tuple[int, int, int]] = (2, 2, 2)


@dataclasses.dataclass(frozen=True)
class STDC2(
    STDC,
    name="stdc2",
    published=Published(
        "STDC2",
        "Fan et al. 2021",
        "TO",
        "inference graph; the survey quotes the scores at 75 % of full size, RTSeg those at 50 %",
        (
            Score("Cityscapes", "val", 77.0, "survey", pretrained=True),
            Score("Cityscapes", "test", 76.8, "survey", pretrained=True),
            Score("CamVid", "test", 73.9, "survey", pretrained=True),
            Score("Cityscapes", "val", 74.2, "RTSeg", pretrained=True),
            Score("Cityscapes", "test", 73.4, "RTSeg", pretrained=True),
        ),
        speeds=survey_speeds(42.1, 103.9, 135.1, 25.9),
    ),
):
    """STDC2."""

    blocks: ClassVar[tuple[int, int, int]] = (4, 5, 3)


def trunk(n: Sketch, row_blocks: tuple[int, int, int], *, count_padding: bool = True) -> list[Tensor]:
    """The encoder's maps at 1/8, 1/16 and 1/32; `count_padding` as in `Pool`."""
    b = n.block("stem", "stem", "trunk")
    x = b.conv("conv_1", n.image, 32, stride=2, activation="relu")
    x = b.conv("conv_2", x, 64, stride=2, activation="relu")
    maps = []
    for row, (channels, blocks) in enumerate(zip(ROWS, row_blocks, strict=True), start=1):
        for i in range(1, blocks + 1):
            down = i == 1
            b = n.block(f"row{row}_{i}", "stdc_down" if down else "stdc", "trunk")
            x = dense_concatenation(b, x, channels, down=down, count_padding=count_padding)
        maps.append(x)
    return maps


def dense_concatenation(b: Builder, x: Tensor, channels: int, *, down: bool, count_padding: bool) -> Tensor:
    """A chain of convolutions of ever fewer channels, all of them side by side."""
    first = y = b.conv("conv_1", x, channels // 2, kernel=1, activation="relu")
    if down:
        y = b.conv("depthwise", first, stride=2)
        first = b.pool("pool", first, "average", count_padding=count_padding)
    parts = [first]
    for i, share in enumerate((4, 8, 8), start=2):
        y = b.conv(f"conv_{i}", y, channels // share, activation="relu")
        parts.append(y)
    return b.concat("concat", *parts)
