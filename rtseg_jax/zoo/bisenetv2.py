"""BiSeNetV2 (Yu et al. 2021), after CoinCheung's code, and two readings of the large one, whose code nobody published.

A *detail* branch of plain convolutions keeps 1/8, a *segment* branch of light blocks goes on to 1/32, and each gates
the other where they meet. The same assembly, with other blocks, is RTSeg's supernet (`rtseg.py`).
"""

import abc
import dataclasses
from collections.abc import Iterator

from rtseg_jax.architecture.builder import Builder, GroupFactory, fixed
from rtseg_jax.architecture.extents import IMAGE
from rtseg_jax.architecture.graph import Block, Group, Mixed, Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.errors import UserError

STAGE_STRIDES = (8, 16, 32)
DETAIL = (64, 64, 128)  # detail branch at 1/2, 1/4, 1/8; channels at width 1.0, as everywhere here
STEM, STEM_LEFT = 16, 8
STAGES = (32, 64, 128)  # segment branch at 1/8, 1/16, 1/32
AGGREGATION = 128


def conv_block(b: Builder, x: Tensor, out: Group, stride: int) -> Block:
    """One 3×3 convolution: a layer of the detail branch."""
    b.conv("conv", x, out, stride=stride, activation="relu")
    return b.build()


def stem_block(b: Builder, image: Tensor, channels: int, left: int) -> Block:
    """To 1/4: a convolution, then convolutions beside a max-pool, concatenated and joined."""
    x = b.conv("conv", image, b.group("conv", channels), stride=2, activation="relu")
    y = b.conv("left_1", x, b.group("left_1", left), kernel=1, activation="relu")
    y = b.conv("left_2", y, b.group("left_2", channels), stride=2, activation="relu")
    z = b.pool("right", x, "max")
    both = b.concat("concat", y, z)
    b.conv("fuse", both, b.group("fuse", channels), activation="relu")
    return b.build()


def gather_expansion_block(b: Builder, x: Tensor, expansion: int) -> Block:
    """Stride-1 gather-and-expansion layer of BiSeNetV2, with its grouped expansion."""
    (stage,) = x.groups
    y = b.conv("conv", x, b.group("conv", x.channels), activation="relu")
    y = b.multiply_channels("expand", y, b.group("expand", x.channels * expansion), 1, "relu")
    y = b.conv("project", y, stage, kernel=1)
    b.sum("sum", x, y, activation="relu")
    return b.build()


def gather_expansion_down_block(b: Builder, x: Tensor, out: Group, expansion: int) -> Block:
    """Stride-2 gather-and-expansion layer of BiSeNetV2."""
    y = b.conv("conv", x, b.group("conv", x.channels), activation="relu")
    y = b.multiply_channels("expand", y, b.group("expand", x.channels * expansion), 2, None)
    y = b.conv("depthwise", y, activation="relu")
    y = b.conv("project", y, out, kernel=1)
    z = b.conv("shortcut_depthwise", x, stride=2)
    z = b.conv("shortcut_project", z, out, kernel=1)
    b.sum("sum", y, z, activation="relu")
    return b.build()


def context_block(b: Builder, x: Tensor, out: Group) -> Block:
    """Context embedding: the normalized global mean, mixed and added to every pixel, then a convolution."""
    y = b.mean("mean", x)
    y = b.norm("mean_norm", y)
    y = b.conv("mix", y, x.groups[0], kernel=1, activation="relu")
    y = b.sum("sum", x, y)
    b.conv("conv", y, out, activation="relu")
    return b.build()


def aggregation_block(b: Builder, detail: Tensor, segment: Tensor, joint: Group, out: Group) -> Block:
    """Bilateral guided aggregation: each branch gates the other, at both resolutions."""
    left = b.conv("detail_depthwise", detail)
    left = b.conv("detail_project", left, joint, kernel=1, norm=False)
    coarse = b.conv("detail_down", detail, joint, stride=2)
    coarse = b.pool("detail_pool", coarse, "average")
    fine_gate = b.conv("segment_conv", segment, joint)
    fine_gate = b.resize("segment_up", fine_gate, left)
    gate = b.conv("segment_depthwise", segment)
    gate = b.conv("segment_project", gate, joint, kernel=1, norm=False)
    left = b.gate("detail_gated", left, fine_gate)
    right = b.gate("segment_gated", coarse, gate)
    right = b.resize("gated_up", right, left)
    both = b.sum("sum", left, right)
    b.conv("conv", both, out, activation="relu")
    return b.build()


def head_block(b: Builder, x: Tensor, image: Tensor, hidden: Group, classes: Group, dropout: float) -> Block:
    """Convolution, classifier, and upsampling of the logits to the size of the image."""
    y = b.conv("conv", x, hidden, activation="relu")
    y = b.dropout("dropout", y, dropout)
    y = b.conv("classifier", y, classes, kernel=1, bias=True, norm=False)
    b.resize("logits", y, image)
    return b.build()


@dataclasses.dataclass(frozen=True)
class DualBranch(NetworkSpec):
    """Shape of a dual-branch network; channel counts are those of BiSeNetV2 at width 1.0.

    Attributes:
      width: factor on every channel count, the head's included; results are rounded to multiples of 8.
      detail_blocks: convolutions of the detail branch at 1/2, 1/4, 1/8; the first of each has stride 2.
      segment_blocks: stride-1 blocks after the downsampling at 1/8, 1/16, 1/32.
      stem_width: factor on the channels of the segment branch's stem.
      stage_widths: factors on the channels of the segment branch at 1/8, 1/16, 1/32; context embedding counts as 1/32.
      head_channels: of the head's convolution at width 1.0.
      expansion: expansion of the segment branch's layers.
      auxiliary_channels: width of the auxiliary heads.
      dropout: rate in the head.
    """

    width: float = 1.0
    detail_blocks: tuple[int, int, int] = (2, 3, 3)
    segment_blocks: tuple[int, int, int] = (1, 1, 3)
    stem_width: float = 1.0
    stage_widths: tuple[float, float, float] = (1.0, 1.0, 1.0)
    head_channels: int = 1024
    expansion: int = 6
    auxiliary_channels: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width <= 0:
            raise UserError(f"network.width is {self.width}: it must be positive")
        for name in ("segment_blocks", "stage_widths"):
            if len(getattr(self, name)) != len(STAGE_STRIDES):
                raise UserError(f"network.{name} needs three numbers: for 1/8, 1/16 and 1/32")
        if len(self.detail_blocks) != len(DETAIL) or min(self.detail_blocks) < 1:
            raise UserError("network.detail_blocks needs three numbers of at least 1: for 1/2, 1/4 and 1/8")
        if min(*self.stage_widths, self.stem_width) <= 0 or self.head_channels < 1:
            raise UserError("network.stem_width, network.stage_widths and network.head_channels must be positive")

    @property
    def group(self) -> GroupFactory:
        """Makes the channel groups of the network."""
        return Group

    @abc.abstractmethod
    def downsample(self, name: str, x: Tensor, out: Group) -> Block:
        """The first block of a stage."""

    @abc.abstractmethod
    def stride_1_block(self, name: str, x: Tensor, stage: int) -> Block | Mixed:
        """Any other block of a stage."""

    def channels(self, base: float | int) -> int:
        """Width of a layer that has `base` channels at width 1.0, rounded to a multiple of 8."""
        return max(8, round(base * self.width / 8) * 8)

    def declare(self) -> Network:
        """Both branches, aggregation, head, and an auxiliary head for each stage."""
        image = Tensor("image", (fixed("image", 3),), IMAGE)
        classes = fixed("classes", self.num_classes)
        detail, segment = tuple(self._detail(image)), tuple(self._segment(image))
        joint, out = (self._group(f"aggregation.{name}", AGGREGATION) for name in ("joint", "out"))
        builder = self.builder("aggregation", "aggregation", "aggregation")
        aggregation = aggregation_block(builder, detail[-1].output, segment[-1].output, joint, out)
        builder = self.builder("head", "head", "head")
        hidden = self._group("head.conv", self.head_channels)
        head = head_block(builder, aggregation.output, image, hidden, classes, self.dropout)
        auxiliary = []
        for block in segment:
            if block.name.endswith("_down"):
                name = f"auxiliary{block.name.removeprefix('stage').removesuffix('_down')}"
                hidden = fixed(f"{name}.conv", self.auxiliary_channels)
                builder = self.builder(name, "head", "auxiliary")
                auxiliary.append(head_block(builder, block.output, image, hidden, classes, 0.0))
        return Network(image, (*detail, *segment, aggregation, head), tuple(auxiliary))

    def builder(self, name: str, kind: str, part: str) -> Builder:
        """Of a block whose groups are made as the network's are."""
        return Builder(name, kind, part, self.group)

    def _group(self, name: str, base: float | int) -> Group:
        return self.group(name, self.channels(base))

    def _detail(self, x: Tensor) -> Iterator[Block]:
        for stage, (base, layers) in enumerate(zip(DETAIL, self.detail_blocks, strict=True), start=1):
            for layer in range(1, layers + 1):
                name = f"detail_{stage}_{layer}"
                builder = self.builder(name, "conv", "detail")
                block = conv_block(builder, x, self._group(name, base), 2 if layer == 1 else 1)
                yield block
                x = block.output

    def _segment(self, image: Tensor) -> Iterator[Block | Mixed]:
        block: Block | Mixed
        builder = self.builder("stem", "stem", "segment")
        stem = (self.channels(base * self.stem_width) for base in (STEM, STEM_LEFT))
        block = stem_block(builder, image, *stem)
        yield block
        stages = [base * factor for base, factor in zip(STAGES, self.stage_widths, strict=True)]
        for index, (stride, base) in enumerate(zip(STAGE_STRIDES, stages, strict=True)):
            block = self.downsample(f"stage{stride}_down", block.output, self._group(f"stage{stride}", base))
            yield block
            for number in range(1, self.segment_blocks[index] + 1):
                block = self.stride_1_block(f"stage{stride}_{number}", block.output, index)
                yield block
        builder = self.builder("context", "context", "segment")
        yield context_block(builder, block.output, self._group("context", stages[-1]))


PUBLISHED = Published(
    "BiSeNetV2",
    "Yu et al. 2021",
    "MB",
    "base width, as in CoinCheung's code; the survey's row of this name is the large one",
    (
        Score("Cityscapes", "val", 73.4, "RTSeg", pretrained=False),
        Score("Cityscapes", "test", 72.6, "RTSeg", pretrained=False),
    ),
    # The survey prints the large network's scores beside these. At 68.1 pictures a second that one, by either reading,
    # would take 23 or 33 · 10¹² multiply-accumulates a second, and the GPU does 17.8 at most: this one was timed.
    speeds=survey_speeds(68.1, 239.3, 273.7, 31.0),
)


@dataclasses.dataclass(frozen=True)
class BiSeNetV2(DualBranch, name="bisenetv2", published=PUBLISHED):
    """BiSeNetV2 with its gather-and-expansion layers; nothing of it is searched."""

    @property
    def group(self) -> GroupFactory:
        """No search cuts it."""
        return fixed

    def downsample(self, name: str, x: Tensor, out: Group) -> Block:
        """A stride-2 gather-and-expansion layer."""
        builder = self.builder(name, "gather_expansion_down", "segment")
        return gather_expansion_down_block(builder, x, out, self.expansion)

    def stride_1_block(self, name: str, x: Tensor, stage: int) -> Block:
        """A gather-and-expansion layer."""
        return gather_expansion_block(self.builder(name, "gather_expansion", "segment"), x, self.expansion)


@dataclasses.dataclass(frozen=True)
class BiSeNetV2LargeGrouped(
    BiSeNetV2,
    name="bisenetv2_l_grouped",
    published=Published(
        "BiSeNetV2-L, grouped",
        "Yu et al. 2021",
        "MB",
        "the base with twice the channels, three times the segment blocks and the same head; a reading of the paper",
    ),
):
    """The large network with the layers of the base one."""

    width: float = 2.0
    segment_blocks: tuple[int, int, int] = (5, 5, 11)
    head_channels: int = 512  # 1024, as in the base: the head is not widened


@dataclasses.dataclass(frozen=True)
class BiSeNetV2Large(
    BiSeNetV2LargeGrouped,
    name="bisenetv2_l",
    published=Published(
        "BiSeNetV2-L",
        "Yu et al. 2021",
        "MB",
        "twice the channels, three times the segment blocks, dense expansions; the reading nearest to the paper's cost",
        (
            Score("Cityscapes", "val", 75.8, "survey", pretrained=False),
            Score("Cityscapes", "test", 75.3, "survey", pretrained=False),
            Score("CamVid", "test", 78.5, "survey"),
        ),
    ),
):
    """The large network whose layers expand with a dense 3×3 convolution and gather with a depthwise one."""

    def downsample(self, name: str, x: Tensor, out: Group) -> Block:
        """A stride-2 layer."""
        b = self.builder(name, "dense_expansion_down", "segment")
        y = b.conv("expand", x, b.group("expand", x.channels * self.expansion), activation="relu")
        y = b.conv("depthwise_1", y, stride=2)
        y = b.conv("depthwise_2", y, activation="relu")
        y = b.conv("project", y, out, kernel=1)
        z = b.conv("shortcut_depthwise", x, stride=2)
        z = b.conv("shortcut_project", z, out, kernel=1)
        b.sum("sum", y, z, activation="relu")
        return b.build()

    def stride_1_block(self, name: str, x: Tensor, stage: int) -> Block:
        """A stride-1 layer."""
        b = self.builder(name, "dense_expansion", "segment")
        y = b.conv("expand", x, b.group("expand", x.channels * self.expansion), activation="relu")
        y = b.conv("depthwise", y, activation="relu")
        y = b.conv("project", y, x.groups, kernel=1)
        b.sum("sum", x, y, activation="relu")
        return b.build()
