"""Channel groups, tensors, operators and blocks: the words in which a network is declared.

A *group* is a set of channels that live and die together, because operators tie them channel by channel: residual sums,
depthwise layers, batch norms, gates. Operators either mix channels (`Conv`, `ConvTranspose`, `LayerNorm`) or work
channel by channel (everything else); removing a channel only matters where channels are mixed, so that is where masks
act.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Literal

Activation = Literal["relu", "gelu"] | None

MINIMUM_CHANNELS = 4  # no group is ever emptied; phones compute channels in slices of four


@dataclasses.dataclass(frozen=True)
class Group:
    """Channels that are kept or removed together.

    Attributes:
      name: unique within a network, the same in a supernet and in the networks cut out of it.
      size: number of indicators.
      unit: channels per indicator; an attention head is one indicator of `head_width` channels.
      searched: whether the search may remove channels.
    """

    name: str
    size: int
    unit: int = 1
    searched: bool = True

    @property
    def floor(self) -> int:
        """Fewest indicators that must stay."""
        return min(self.size, math.ceil(MINIMUM_CHANNELS / self.unit))

    @property
    def multiple(self) -> int:
        """Kept indicators come in multiples of this."""
        return max(1, MINIMUM_CHANNELS // self.unit)

    def snap(self, kept: int) -> int:
        """Rounds a number of kept indicators up to what is computed anyway, within floor and size."""
        return max(self.floor, min(self.size, -(-kept // self.multiple) * self.multiple))


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A feature map: its channel groups in order of concatenation, and the stride of the image (0 for one pixel)."""

    name: str
    groups: tuple[Group, ...]
    stride: int

    @property
    def channels(self) -> int:
        """Number of channels."""
        return sum(group.size * group.unit for group in self.groups)

    def size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width for an image of `image_size`: every layer rounds up."""
        if self.stride == 0:
            return (1, 1)
        return (-(-image_size[0] // self.stride), -(-image_size[1] // self.stride))


@dataclasses.dataclass(frozen=True)
class Op:
    """An operator: reads `inputs`, writes `output`."""

    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor


@dataclasses.dataclass(frozen=True)
class Conv(Op):
    """Convolution, `SAME` padding, then batch norm and activation where asked for."""

    kernel: int
    stride: int = 1
    depthwise: bool = False
    bias: bool = False
    norm: bool = True
    activation: Activation = None


@dataclasses.dataclass(frozen=True)
class ConvTranspose(Op):
    """De-patching: P×P transposed convolution of stride P, cropped to the size of the second input, batch norm."""

    stride: int


@dataclasses.dataclass(frozen=True)
class BatchNorm(Op):
    """Batch norm on its own."""


@dataclasses.dataclass(frozen=True)
class LayerNorm(Op):
    """Layer norm over the channels of each pixel."""


@dataclasses.dataclass(frozen=True)
class Attention(Op):
    """Multi-head self-attention over the pixels of (query, key, value); `output` has one group of heads."""


@dataclasses.dataclass(frozen=True)
class Add(Op):
    """Sum of feature maps of the same group (one may be a single pixel), then an activation."""

    activation: Activation = None


@dataclasses.dataclass(frozen=True)
class Gate(Op):
    """First input times the sigmoid of the second."""


@dataclasses.dataclass(frozen=True)
class Concat(Op):
    """Channels side by side; the groups keep apart."""


@dataclasses.dataclass(frozen=True)
class Resize(Op):
    """First input, bilinearly resized to the size of the second."""


@dataclasses.dataclass(frozen=True)
class Pool(Op):
    """Pooling over 3×3 with stride 2."""

    kind: Literal["max", "average"]


@dataclasses.dataclass(frozen=True)
class GlobalMean(Op):
    """Mean over all pixels."""


@dataclasses.dataclass(frozen=True)
class Dropout(Op):
    """Dropout, in training only."""

    rate: float


@dataclasses.dataclass(frozen=True)
class Block:
    """A chain of operators that is measured, priced and exported as one.

    Attributes:
      name: unique within the network; names the parameters.
      kind: type of block, a feature of the latency model.
      part: where it belongs in tables: detail, segment, aggregation, head or auxiliary.
      ops: in order of execution; the last one writes the block's output.
    """

    name: str
    kind: str
    part: str
    ops: tuple[Op, ...]

    @property
    def output(self) -> Tensor:
        """What the block writes."""
        return self.ops[-1].output

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the block reads of others, in order of first use."""
        written = {op.output for op in self.ops}
        read = (tensor for op in self.ops for tensor in op.inputs if tensor not in written)
        return tuple(dict.fromkeys(read))


@dataclasses.dataclass(frozen=True)
class Mixed:
    """A place where the search chooses: skip, or one of the named blocks (equation 7 of the paper)."""

    name: str
    part: str
    input: Tensor
    output: Tensor
    paths: tuple[tuple[str, Block], ...]


@dataclasses.dataclass(frozen=True)
class Network:
    """A whole network: blocks in order of execution, and auxiliary heads that exist in training only."""

    image: Tensor
    blocks: tuple[Block | Mixed, ...]
    auxiliary: tuple[Block, ...]

    @property
    def plain_blocks(self) -> tuple[Block, ...]:
        """Every block of the inference network, those inside mixed blocks included."""
        return tuple(block for _, block in self.walk())

    @property
    def mixed_blocks(self) -> tuple[Mixed, ...]:
        """The places where a path is chosen."""
        return tuple(block for block in self.blocks if isinstance(block, Mixed))

    def walk(self) -> Iterator[tuple[tuple[str, str] | None, Block]]:
        """Yields every block with its (mixed block, path), or None where there is no choice."""
        for block in self.blocks:
            if isinstance(block, Mixed):
                for path, inner in block.paths:
                    yield (block.name, path), inner
            else:
                yield None, block

    @property
    def groups(self) -> tuple[Group, ...]:
        """All channel groups of the inference network, in order of first use."""
        tensors = (op.output for block in self.plain_blocks for op in block.ops)
        return tuple(dict.fromkeys(group for tensor in tensors for group in tensor.groups))

    @property
    def searched_groups(self) -> tuple[Group, ...]:
        """The groups whose channels the search may remove."""
        return tuple(group for group in self.groups if group.searched)
