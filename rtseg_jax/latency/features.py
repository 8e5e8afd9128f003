"""What the latency of a block depends on, read off its declaration.

Every width-dependent feature is a sum of *terms*: a number times a product of at most two kept channel counts. Terms
have no negative coefficients, so features never fall when a width grows; and a network's features are a few array
operations on its vector of kept counts, see `latency.pricing`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rtseg_jax.architecture import operators as declared
from rtseg_jax.architecture.counts import all_kept, pixels
from rtseg_jax.architecture.extents import fitting
from rtseg_jax.architecture.graph import Block, Group, Groups, Op, Tensor
from rtseg_jax.export.spec import DYNAMIC, LEAST_WEIGHTS

WIDTH_FEATURES = (
    "conv_macs",  # full convolutions larger than 1×1
    "conv_outputs",  # elements that these compute: whatever a tile costs besides its MACs
    "pointwise_macs",
    "pointwise_outputs",
    "depthwise_macs",
    "transpose_macs",  # de-patching
    "attention_macs",  # Q·Kᵀ and the product with V
    "attention_scores",  # entries of the softmax
    "transposed",  # elements brought into another order
    "elementwise",  # elements read by sums, products and copies
    "activation",  # elements of gelu and sigmoid
    "normalized",  # elements of layer norms
    "pooled",  # elements compared by max-pooling
    "resized",  # elements written by resizing
    "rescaled",  # elements written by kernels of 8 bits that become floats again, in `dynamic` files
    "traffic",  # elements read and written by all operators
    "weights",
    "input_channels",
    "inner_channels",
    "output_channels",
)
TILINGS = ("conv", "pointwise", "depthwise", "inputs")
"""What a device may compute in tiles of its own: output channels of kinds of operators, and channels to sum over."""

Tile = tuple[int, int]
"""Channels that are computed at once: where all of them fit into the first number, and otherwise."""

FUSED: tuple[declared.Activation, ...] = ("relu", "relu6")
"""Activations that cost nothing: runtimes compute them with the operator before."""

SLOW_ACTIVATIONS: tuple[declared.Activation, ...] = ("gelu", "exact_gelu", "sigmoid", "silu", "elu")
"""Activations with an exponential in them."""

UNTILED = dict.fromkeys(TILINGS, (1, 1))

CONTEXT_FEATURES = ("operators", "log_input_pixels", "log_output_pixels", "log_height", "log_stride", "log_kernel")


@dataclasses.dataclass(frozen=True)
class Factor:
    """A count: the sum over groups of kept indicators times a number.

    Attributes:
      parts: groups and numbers.
      tiling: one of `TILINGS` where the device computes whole tiles of these channels, else None.
    """

    parts: tuple[tuple[Group, int], ...]
    tiling: str | None = None


@dataclasses.dataclass(frozen=True)
class Kernel:
    """`taps · Π factors` weights; from `LEAST_WEIGHTS` on `dynamic` files have 8-bit numbers for them."""

    taps: int
    factors: tuple[Factor, ...]


LARGE = Kernel(LEAST_WEIGHTS, ())
"""Whatever the widths are."""


@dataclasses.dataclass(frozen=True)
class Term:
    """`coefficient · Π factors`, added to a width feature where the kernel is large enough."""

    feature: str
    coefficient: int
    factors: tuple[Factor, ...]
    kernel: Kernel = LARGE


def block_terms(block: Block, image_size: tuple[int, int], precision: str) -> tuple[Term, ...]:
    """All terms of a block's width features, in files of one of `export.spec.PRECISIONS`."""
    terms = [term for op in block.ops for term in _priced(op, image_size)]
    if precision == DYNAMIC:
        terms += [term for op in block.ops for term in _rescaled(op, image_size)]
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


def width_features(
    terms: Iterable[Term], kept: Callable[[Group], Any] = all_kept, tiles: Mapping[str, Tile] = UNTILED
) -> list[Any]:
    """Width features of a block, in the order of `WIDTH_FEATURES`.

    Args:
      terms: see `block_terms`.
      kept: kept indicators of a group: a whole number, or a traced scalar in which features are differentiable.
      tiles: of the device, by kind of operator.
    """

    def count(factor: Factor) -> Any:
        number = sum(kept(group) * number for group, number in factor.parts)
        return number if factor.tiling is None else round_up(number, *tiles[factor.tiling])

    totals: dict[str, Any] = dict.fromkeys(WIDTH_FEATURES, 0.0)
    for term in terms:
        large = is_large(term.kernel.taps * math.prod(map(count, term.kernel.factors)))
        totals[term.feature] += term.coefficient * math.prod(map(count, term.factors)) * large
    return list(totals.values())


def block_context(block: Block, image_size: tuple[int, int]) -> tuple[float, ...]:
    """What does not depend on widths: `CONTEXT_FEATURES`."""
    convolutions = [op for op in block.ops if isinstance(op, declared.Conv | declared.ConvTranspose)]
    kernel = max((max(op.kernel) for op in convolutions), default=1)
    inputs = max(pixels(tensor, image_size) for tensor in block.inputs)
    stride = max(op.stride for op in convolutions) if convolutions else 1
    height, _ = block.output.size(image_size)
    logs = (inputs, pixels(block.output, image_size), height, stride, kernel)
    return (float(sum(map(operators, block.ops))), *map(math.log, logs))


def operators(op: Op) -> int:
    """Operators of the exported graph that an operator of the declaration becomes."""
    if isinstance(op, declared.Dropout):
        return 0
    if isinstance(op, declared.LayerNorm):
        return 8  # two means, difference, square, reciprocal root, a sum and two products
    if isinstance(op, declared.Attention):
        return 16  # two reshapes and a transpose for each of Q, K, V and the result, two products, scale, softmax
    separate = getattr(op, "activation", None) not in (None, *FUSED)
    return 2 if separate else 1


def round_up(count: Any, small: Any, large: Any) -> Any:
    """Channels that are computed for so many: whole tiles, see `Tile`.

    The gradient is that of the count, whose average slope it has.
    """
    if isinstance(count, int):
        return small if count <= small else -(-count // large) * large
    count = jnp.asarray(count, jnp.float32)
    exact = jax.lax.stop_gradient(count) - 1e-3  # a sum of masks in floating point may exceed what it counts
    return count + (jnp.where(exact <= small, small, jnp.ceil(exact / large) * large) - jax.lax.stop_gradient(count))


def is_large(weights: Any) -> Any:
    """Whether a kernel of so many weights has 8 bits; a sum of masks may fall a little short of what it counts."""
    return weights > LEAST_WEIGHTS - 0.5


def _channels(of: Tensor | Groups, tiling: str | None = None) -> Factor:
    groups = of.groups if isinstance(of, Tensor) else of
    return Factor(tuple((group, group.unit) for group in groups), tiling)


def _priced(op: Op, image_size: tuple[int, int]) -> Iterator[Term]:
    """Terms of one operator: its own work, its kernel, its activation, and the elements that it reads and writes."""
    if isinstance(op, declared.Dropout):
        return
    yield from _work(op, image_size)
    if getattr(op, "activation", None) in SLOW_ACTIVATIONS:
        yield Term("activation", pixels(op.output, image_size), (_channels(op.output),))
    for tensor in (*op.values, op.output):
        yield Term("traffic", pixels(tensor, image_size), (_channels(tensor),))


def _rescaled(op: Op, image_size: tuple[int, int]) -> Iterator[Term]:
    """Of a full convolution: depthwise and transposed ones keep floats, see `export.hybrid`."""
    if not isinstance(op, declared.Conv) or op.depthwise:
        return
    summed = () if op.fan_in is not None else (_channels(op.inputs[0]),)
    kernel = Kernel(math.prod(op.kernel) * (op.fan_in or 1), (*summed, _channels(op.output)))
    yield Term("rescaled", pixels(op.output, image_size), (_channels(op.output, _kind(op)),), kernel)


def _kind(op: declared.Conv) -> str:
    """Which of `TILINGS` a convolution's output channels are computed in."""
    if op.depthwise:
        return "depthwise"
    return "pointwise" if op.fan_in is None and math.prod(op.kernel) == 1 else "conv"


@functools.singledispatch
def _work(op: Op, image_size: tuple[int, int]) -> Iterator[Term]:
    """Of an operator without a rule: its products as those of convolutions; where it has none, what it reads."""
    products = op.products(image_size)
    for product in products:
        feature = "conv_macs" if len(product.factors) == 2 else "depthwise_macs"
        yield Term(feature, product.coefficient, tuple(map(_channels, product.factors)))
    for tensor in () if products else op.values:
        yield Term("elementwise", pixels(tensor, image_size), (_channels(tensor),))


@_work.register
def _(op: declared.Conv, image_size: tuple[int, int]) -> Iterator[Term]:
    (product,) = op.products(image_size)
    kind, taps, area = _kind(op), math.prod(op.kernel), pixels(op.output, image_size)
    if op.fan_in is not None:
        made = _channels(op.output, kind)
        yield Term(f"{kind}_macs", product.coefficient, (made,))
        yield Term("weights", taps * op.fan_in, (made,))
        return
    factors = (_channels(op.inputs[0], "inputs"), _channels(op.output, kind))
    yield Term(f"{kind}_macs", product.coefficient, factors)
    yield Term(f"{kind}_outputs", area, factors[1:])
    yield Term("weights", taps, factors)


@_work.register
def _(op: declared.ConvTranspose, image_size: tuple[int, int]) -> Iterator[Term]:
    (product,) = op.products(image_size)
    factors = (_channels(op.inputs[0], "inputs"), _channels(op.output, "conv"))
    yield Term("transpose_macs", product.coefficient, factors)
    yield Term("weights", math.prod(op.kernel), factors)


@_work.register
def _(op: declared.Attention, image_size: tuple[int, int]) -> Iterator[Term]:
    for product in op.products(image_size):
        yield Term("attention_macs", product.coefficient, tuple(map(_channels, product.factors)))
    yield Term("attention_scores", op.scores(image_size), (Factor(((op.heads, 1),)),))
    for tensor in (*op.inputs, op.output):  # heads are brought to the front and back
        yield Term("transposed", pixels(tensor, image_size), (_channels(tensor),))


@_work.register
def _(op: declared.LayerNorm, image_size: tuple[int, int]) -> Iterator[Term]:
    yield Term("normalized", pixels(op.output, image_size), (_channels(op.output),))


@_work.register
def _(op: declared.Pool, image_size: tuple[int, int]) -> Iterator[Term]:
    feature = "pooled" if op.kind == "max" else "depthwise_macs"  # exported averages are depthwise convolutions
    window = fitting(op.window, op.inputs[0].size(image_size)) if op.cut else op.window
    area = math.prod(window) * pixels(op.output, image_size)
    yield Term(feature, area, (_channels(op.output, "depthwise"),))


@_work.register
def _(op: declared.Resize, image_size: tuple[int, int]) -> Iterator[Term]:
    yield Term("resized", pixels(op.output, image_size), (_channels(op.output),))
