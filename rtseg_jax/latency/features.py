"""What the latency of a block depends on, read off its declaration.

Every width-dependent feature is a sum of *terms*: a number times a product of at most two kept channel counts. Terms
have no negative coefficients, so features never fall when a width grows; and a network's features are a few array
operations on its vector of kept counts, see `latency.pricing`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtseg_jax.architecture import graph
from rtseg_jax.architecture.counts import all_kept, pixels
from rtseg_jax.architecture.graph import Block, Group, Op, Tensor

WIDTH_FEATURES = (
    "conv_macs",  # full convolutions larger than 1×1
    "conv_reads",  # elements that these gather; what is computed for output channels that pad a vector register
    "pointwise_macs",
    "depthwise_macs",
    "transpose_macs",  # de-patching
    "attention_macs",  # Q·Kᵀ and the product with V
    "attention_scores",  # entries of the softmax
    "elementwise",  # elements read by sums, products and copies
    "activation",  # elements of gelu and sigmoid
    "normalized",  # elements of layer norms
    "pooled",  # elements compared by max-pooling
    "resized",  # elements written by resizing
    "traffic",  # elements read and written by all operators
    "weights",
    "input_channels",
    "inner_channels",
    "output_channels",
)
CONTEXT_FEATURES = ("operators", "log_input_pixels", "log_output_pixels", "log_height", "log_stride", "log_kernel")


@dataclasses.dataclass(frozen=True)
class Factor:
    """A count: the sum over groups of kept indicators times a number.

    Attributes:
      parts: groups and numbers.
      tiled: whether the device computes whole tiles of these channels: outputs of convolutions.
    """

    parts: tuple[tuple[Group, int], ...]
    tiled: bool = False


@dataclasses.dataclass(frozen=True)
class Term:
    """`coefficient · Π factors`, added to a width feature."""

    feature: str
    coefficient: int
    factors: tuple[Factor, ...]


def block_terms(block: Block, image_size: tuple[int, int]) -> tuple[Term, ...]:
    """All terms of a block's width features."""
    terms = [term for op in block.ops for term in _priced(op, image_size)]
    inputs = {group for tensor in block.inputs for group in tensor.groups}
    outputs = set(block.output.groups)
    written = {group: None for op in block.ops for group in op.output.groups}
    terms += [Term("input_channels", 1, (_channels(tensor),)) for tensor in block.inputs]
    terms += [
        Term("inner_channels", 1, (Factor(((group, group.unit),)),))
        for group in written
        if group not in inputs | outputs
    ]
    return (*terms, Term("output_channels", 1, (_channels(block.output),)))


def block_features(
    block: Block, image_size: tuple[int, int], kept: Callable[[Group], Any] = all_kept, tile: int = 1
) -> Float[Array, " f"]:
    """Width features of a block (`WIDTH_FEATURES`), then its context features (`CONTEXT_FEATURES`).

    Args:
      block: the declaration.
      image_size: height and width of the network's input.
      kept: kept indicators of a group, an integer or a traced scalar; features are differentiable in them.
      tile: channels that the device computes at once; convolutions' outputs are rounded up to whole tiles.
    """

    def count(factor: Factor) -> Any:
        number = sum(kept(group) * number for group, number in factor.parts)
        return round_up(number, tile) if factor.tiled else number

    totals: dict[str, Any] = dict.fromkeys(WIDTH_FEATURES, 0.0)
    for term in block_terms(block, image_size):
        totals[term.feature] += term.coefficient * math.prod(map(count, term.factors))
    return jnp.stack([jnp.float32(value) for value in (*totals.values(), *block_context(block, image_size))])


def block_context(block: Block, image_size: tuple[int, int]) -> tuple[float, ...]:
    """What does not depend on widths: `CONTEXT_FEATURES`."""
    convolutions = [op for op in block.ops if isinstance(op, graph.Conv | graph.ConvTranspose)]
    kernel = max((getattr(op, "kernel", op.stride) for op in convolutions), default=1)
    inputs = max(pixels(tensor, image_size) for tensor in block.inputs)
    stride = max(op.stride for op in convolutions) if convolutions else 1
    height, _ = block.output.size(image_size)
    logs = (inputs, pixels(block.output, image_size), height, stride, kernel)
    return (float(sum(map(operators, block.ops))), *map(math.log, logs))


def operators(op: Op) -> int:
    """Operators of the exported graph that an operator of the declaration becomes."""
    if isinstance(op, graph.Dropout):
        return 0
    if isinstance(op, graph.LayerNorm):
        return 8  # two means, difference, square, reciprocal root, a sum and two products
    if isinstance(op, graph.Attention):
        return 16  # two reshapes and a transpose for each of Q, K, V and the result, two products, scale, softmax
    gelu = isinstance(op, graph.Conv) and op.activation == "gelu"
    return 2 if gelu or isinstance(op, graph.Gate) else 1


def round_up(count: Any, tile: Any) -> Any:
    """Rounds up to whole tiles; the gradient is that of the count, whose average slope it has."""
    count = jnp.asarray(count, jnp.float32)
    rounded = jnp.ceil(jax.lax.stop_gradient(count) / tile - 1e-4) * tile
    return count + (rounded - jax.lax.stop_gradient(count))


def _channels(tensor: Tensor, tiled: bool = False) -> Factor:
    return Factor(tuple((group, group.unit) for group in tensor.groups), tiled)


def _priced(op: Op, image_size: tuple[int, int]) -> Iterator[Term]:
    """Terms of one operator: its own work, and the elements that it reads and writes."""
    if isinstance(op, graph.Dropout):
        return
    yield from _work(op, image_size)
    read = op.inputs[:1] if isinstance(op, graph.Resize | graph.ConvTranspose) else op.inputs  # the second gives a size
    for tensor in (*read, op.output):
        yield Term("traffic", pixels(tensor, image_size), (_channels(tensor),))


@functools.singledispatch
def _work(op: Op, image_size: tuple[int, int]) -> Iterator[Term]:
    """Sums, products, copies and means: elements read."""
    for tensor in op.inputs:
        yield Term("elementwise", pixels(tensor, image_size), (_channels(tensor),))


@_work.register
def _(op: graph.Conv, image_size: tuple[int, int]) -> Iterator[Term]:
    taps, area = op.kernel**2, pixels(op.output, image_size)
    given, made = _channels(op.inputs[0]), _channels(op.output, tiled=True)
    if op.depthwise:
        yield Term("depthwise_macs", area * taps, (made,))
        yield Term("weights", taps, (made,))
    else:
        yield Term("pointwise_macs" if op.kernel == 1 else "conv_macs", area * taps, (given, made))
        yield Term("weights", taps, (given, made))
        if op.kernel > 1:
            yield Term("conv_reads", area * taps, (given,))
    if op.activation == "gelu":
        yield Term("activation", area, (_channels(op.output),))


@_work.register
def _(op: graph.ConvTranspose, image_size: tuple[int, int]) -> Iterator[Term]:
    taps = op.stride**2
    factors = (_channels(op.inputs[0]), _channels(op.output, tiled=True))
    yield Term("transpose_macs", pixels(op.inputs[0], image_size) * taps, factors)
    yield Term("weights", taps, factors)


@_work.register
def _(op: graph.Attention, image_size: tuple[int, int]) -> Iterator[Term]:
    tokens = pixels(op.output, image_size)
    (heads,) = op.output.groups
    yield Term("attention_macs", 2 * tokens**2, (_channels(op.output),))
    yield Term("attention_scores", tokens**2, (Factor(((heads, 1),)),))
    yield Term("elementwise", 4 * tokens, (_channels(op.output),))  # heads are brought to the front and back


@_work.register
def _(op: graph.LayerNorm, image_size: tuple[int, int]) -> Iterator[Term]:
    yield Term("normalized", pixels(op.output, image_size), (_channels(op.output),))


@_work.register
def _(op: graph.Gate, image_size: tuple[int, int]) -> Iterator[Term]:
    for tensor in op.inputs:
        yield Term("elementwise", pixels(tensor, image_size), (_channels(tensor),))
    yield Term("activation", pixels(op.output, image_size), (_channels(op.output),))


@_work.register
def _(op: graph.Pool, image_size: tuple[int, int]) -> Iterator[Term]:
    feature = "pooled" if op.kind == "max" else "depthwise_macs"  # exported averages are depthwise convolutions
    yield Term(feature, 9 * pixels(op.output, image_size), (_channels(op.output, tiled=True),))


@_work.register
def _(op: graph.Resize, image_size: tuple[int, int]) -> Iterator[Term]:
    yield Term("resized", pixels(op.output, image_size), (_channels(op.output),))
