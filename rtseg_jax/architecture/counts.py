"""Parameters and multiply-accumulates of a declaration, from its integers alone.

MACs are those of convolutions, linear layers and attention products, as published tables count them; element-wise
work, pooling and resizing are not counted. Counts take the widths from `kept`, which may return traced numbers, so that
the same formulas give differentiable features to the latency model.
"""

import math
from collections.abc import Callable
from typing import Any

from rtseg_jax.architecture.extents import Size
from rtseg_jax.architecture.graph import Block, Group, Groups, Network, Op, Product, Tensor, Weight

Number = Any  # an int, or a traced scalar
Kept = Callable[[Group], Number]


def all_kept(group: Group) -> int:
    """Every indicator of the group."""
    return group.size


def channels(tensor: Tensor, kept: Kept = all_kept) -> Number:
    """Channels of a tensor when `kept` indicators of each group remain."""
    return _channels(tensor.groups, kept)


def pixels(tensor: Tensor, image_size: Size) -> int:
    """Pixels of a tensor."""
    return math.prod(tensor.size(image_size))


def op_parameters(op: Op, kept: Kept = all_kept) -> Number:
    """Trainable numbers of an operator."""
    return sum(_numbers(weight, kept) for weight in op.weights if weight.trained)


def op_macs(op: Op, image_size: Size, kept: Kept = all_kept) -> Number:
    """Multiply-accumulates of an operator for one image."""
    return sum(number(product, kept) for product in op.products(image_size))


def number(product: Product, kept: Kept = all_kept) -> Number:
    """How many multiply-accumulates a product is."""
    return product.coefficient * math.prod(_channels(groups, kept) for groups in product.factors)


def block_parameters(block: Block, kept: Kept = all_kept) -> Number:
    """Trainable numbers of a block; what operators share counts once."""
    return sum(_numbers(weight, kept) for weight in block.weights.values() if weight.trained)


def block_macs(block: Block, image_size: Size, kept: Kept = all_kept) -> Number:
    """Multiply-accumulates of a block for one image."""
    return sum(op_macs(op, image_size, kept) for op in block.ops)


def parameters(network: Network) -> int:
    """Trainable numbers of the inference network: auxiliary heads do not count."""
    return sum(block_parameters(block) for block in network.plain_blocks)


def macs(network: Network, image_size: Size) -> int:
    """Multiply-accumulates of the inference network for one image; every operator of a mixed block counts."""
    return sum(block_macs(block, image_size) for block in network.plain_blocks)


def by_part(network: Network, count: Callable[[Block], int]) -> dict[str, int]:
    """Sums a count over the blocks of each part."""
    result: dict[str, int] = {}
    for block in network.plain_blocks:
        result[block.part] = result.get(block.part, 0) + count(block)
    return result


def _numbers(weight: Weight, kept: Kept) -> Number:
    return math.prod(axis if isinstance(axis, int) else _channels(axis, kept) for axis in weight.axes)


def _channels(groups: Groups, kept: Kept) -> Number:
    return sum(kept(group) * group.unit for group in groups)
