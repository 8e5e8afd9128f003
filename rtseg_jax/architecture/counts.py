"""Parameters and multiply-accumulates of a declaration, from its integers alone.

MACs are those of convolutions, linear layers and attention products, as published tables count them; element-wise
work, pooling and resizing are not counted. Counts take the widths from `kept`, which may return traced numbers, so that
the same formulas give differentiable features to the latency model.
"""

import functools
from collections.abc import Callable
from typing import Any

from rtseg_jax.architecture import graph
from rtseg_jax.architecture.graph import Block, Group, Network, Op, Tensor

Number = Any  # an int, or a traced scalar
Kept = Callable[[Group], Number]


def all_kept(group: Group) -> int:
    """Every indicator of the group."""
    return group.size


def channels(tensor: Tensor, kept: Kept = all_kept) -> Number:
    """Channels of a tensor when `kept` indicators of each group remain."""
    return sum(kept(group) * group.unit for group in tensor.groups)


def pixels(tensor: Tensor, image_size: tuple[int, int]) -> int:
    """Pixels of a tensor."""
    height, width = tensor.size(image_size)
    return height * width


@functools.singledispatch
def op_parameters(op: Op, kept: Kept = all_kept) -> Number:
    """Trainable numbers of an operator."""
    return 0


@op_parameters.register
def _(op: graph.Conv, kept: Kept = all_kept) -> Number:
    fan_in = 1 if op.depthwise else channels(op.inputs[0], kept)
    extra = int(op.bias) + 2 * int(op.norm)
    return channels(op.output, kept) * (op.kernel**2 * fan_in + extra)


@op_parameters.register
def _(op: graph.ConvTranspose, kept: Kept = all_kept) -> Number:
    return channels(op.output, kept) * (op.stride**2 * channels(op.inputs[0], kept) + 2)


@op_parameters.register(graph.BatchNorm)
@op_parameters.register(graph.LayerNorm)
def _(op: Op, kept: Kept = all_kept) -> Number:
    return 2 * channels(op.output, kept)


@functools.singledispatch
def op_macs(op: Op, image_size: tuple[int, int], kept: Kept = all_kept) -> Number:
    """Multiply-accumulates of an operator for one image."""
    return 0


@op_macs.register
def _(op: graph.Conv, image_size: tuple[int, int], kept: Kept = all_kept) -> Number:
    fan_in = 1 if op.depthwise else channels(op.inputs[0], kept)
    return pixels(op.output, image_size) * op.kernel**2 * fan_in * channels(op.output, kept)


@op_macs.register
def _(op: graph.ConvTranspose, image_size: tuple[int, int], kept: Kept = all_kept) -> Number:
    taps = pixels(op.inputs[0], image_size) * op.stride**2
    return taps * channels(op.inputs[0], kept) * channels(op.output, kept)


@op_macs.register
def _(op: graph.Attention, image_size: tuple[int, int], kept: Kept = all_kept) -> Number:
    tokens = pixels(op.output, image_size)
    return 2 * tokens**2 * channels(op.output, kept)


def block_parameters(block: Block, kept: Kept = all_kept) -> Number:
    """Trainable numbers of a block."""
    return sum(op_parameters(op, kept) for op in block.ops)


def block_macs(block: Block, image_size: tuple[int, int], kept: Kept = all_kept) -> Number:
    """Multiply-accumulates of a block for one image."""
    return sum(op_macs(op, image_size, kept) for op in block.ops)


def parameters(network: Network) -> int:
    """Trainable numbers of the inference network: auxiliary heads do not count."""
    return sum(block_parameters(block) for block in network.plain_blocks)


def macs(network: Network, image_size: tuple[int, int]) -> int:
    """Multiply-accumulates of the inference network for one image; both operators of a mixed block count."""
    return sum(block_macs(block, image_size) for block in network.plain_blocks)


def by_part(network: Network, count: Callable[[Block], int]) -> dict[str, int]:
    """Sums a count over the blocks of each part; attention paths are a part of their own."""
    result: dict[str, int] = {}
    for block in network.plain_blocks:
        part = "attention" if block.kind == "mhsa" else block.part
        result[part] = result.get(part, 0) + count(block)
    return result
