"""What every declared operator computes: one function per operator type.

Kernels arrive masked: a channel that is removed is removed where channels are mixed, which an operator's weights say.
Multiplying a kernel's input channels by 0/1 gives what multiplying the feature map gives, values and gradients, at no
cost in pixels; what the paper draws as a layer behind each convolution (DWBC) becomes a factor of the next kernel.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from rtseg_jax.architecture import operators
from rtseg_jax.architecture.extents import fitting
from rtseg_jax.architecture.graph import Group, Groups, Op, Role, Weight
from rtseg_jax.models.activations import activate
from rtseg_jax.models.attention import (
    Mask,
    attention,
    channel_mean,
    layer_norm,
    linear_attention,
    per_pixel,
    unit_norm,
)
from rtseg_jax.models.batch_norm import Statistics, batch_norm
from rtseg_jax.models.cells import cell_conv, cell_depthwise, coordinates, patches
from rtseg_jax.models.convolution import Lowering, conv2d, conv_transpose2d, depthwise_conv2d, spatial, transpose_margin
from rtseg_jax.models.division import WHOLE, Division
from rtseg_jax.models.pooling import adaptive_average_pool, average_pool, channel_max, max_pool
from rtseg_jax.models.resize import resize
from rtseg_jax.models.rounding import FLOATS, FUSED, Numbers
from rtseg_jax.models.sampling import warp

Masks = Mapping[str, Float[Array, " _"]] | None
Activating = operators.Conv | operators.ConvTranspose | operators.BatchNorm | operators.Add | operators.Activate
Map = Float[Array, "b _ _ _"]  # the maps of one operator differ in size and channels


@dataclasses.dataclass(frozen=True)
class Context:
    """What operators share.

    Attributes:
      masks: by group name; None: nothing is masked.
      train: whether batch statistics and dropout are those of training.
      dtype: of the computation.
      lowering: see `models.convolution`.
      load: the array of a weight.
      store: takes a new value of a running statistic.
      division: of the batch among devices.
      numbers: in which is computed.
    """

    masks: Masks
    train: bool
    dtype: Any
    lowering: Lowering
    load: Callable[[Weight], jax.Array]
    store: Callable[[Weight, jax.Array], None]
    division: Division = WHOLE
    numbers: Numbers = FLOATS

    def mask(self, groups: Groups) -> Mask:
        """Mask of channels in the order of their groups."""
        if self.masks is None or not any(group.name in self.masks for group in groups):
            return None
        return jnp.concatenate([self._group_mask(group) for group in groups])

    def weights(self, op: Op) -> dict[Role, jax.Array]:
        """The arrays of an operator by what they do; kernels are masked."""
        arrays = {weight.role: self._masked(weight) for weight in op.weights}
        return {role: self.numbers.kernel(x) if role == "kernel" else x for role, x in arrays.items()}

    def activated(self, x: Map, op: Activating, *, fused: tuple[operators.Activation, ...] = FUSED) -> Map:
        """The activation of an operator; those in `fused` are no operators of their own in a file."""
        slope = next((self.load(weight) for weight in op.weights if weight.role == "slope"), None)
        return activate(x if op.activation in fused else self.numbers.held(x), op.activation, slope)

    def norm(self, op: operators.Conv | operators.ConvTranspose | operators.BatchNorm, x: Map) -> Map:
        """Batch norm with an operator's weights."""
        found = {weight.role: weight for weight in op.weights}
        old = Statistics(self.load(found["mean"]), self.load(found["variance"]))
        scale, shift = self.load(found["scale"]), self.load(found["shift"])
        settings: dict[str, Any] = {"epsilon": op.epsilon, "dtype": self.dtype, "train": self.train}
        y, new = batch_norm(x, scale, shift, old, **settings, rows_divided=self.division.rows > 1)
        if self.train:
            self.store(found["mean"], new.mean)
            self.store(found["variance"], new.variance)
        return y

    def _masked(self, weight: Weight) -> jax.Array:
        value = self.load(weight)
        axis = weight.contracted
        mask = None if axis is None else self.mask(weight.axes[axis])  # type: ignore[arg-type]
        return value if mask is None else value * jnp.expand_dims(mask, [n for n in range(value.ndim) if n != axis])

    def _group_mask(self, group: Group) -> jax.Array:
        assert self.masks is not None
        mask = self.masks.get(group.name, jnp.ones(group.size))
        return jnp.repeat(mask, group.unit, total_repeat_length=group.channels)


@functools.singledispatch
def apply_op(op: Op, inputs: list[Map], context: Context) -> Map:
    """Computes an operator; must be called inside the `nn.compact` method of its block."""
    raise NotImplementedError(f"operator {type(op).__name__} has no implementation")


@apply_op.register
def _(op: operators.Conv, inputs: list[Map], context: Context) -> Map:
    weights = context.weights(op)
    full = functools.partial(conv2d, division=context.division)
    convolve = depthwise_conv2d if op.depthwise else full
    settings: dict[str, Any] = {"stride": op.stride, "padding": op.padding, "dilation": op.dilation}
    x = convolve(inputs[0], weights["kernel"].astype(context.dtype), **settings, lowering=context.lowering)
    x = _add_bias(x, weights)
    return context.activated(context.norm(op, x) if op.norm else x, op)


@apply_op.register
def _(op: operators.ConvTranspose, inputs: list[Map], context: Context) -> Map:
    weights = context.weights(op)
    kernel = weights["kernel"].astype(context.dtype)
    height, width = spatial(inputs[1]) if len(inputs) > 1 else (op.stride * side for side in spatial(inputs[0]))
    top, left = transpose_margin(op.kernel, op.stride)
    window = (slice(None), slice(top, top + height), slice(left, left + width))
    x = _add_bias(conv_transpose2d(inputs[0], kernel, stride=op.stride, lowering=context.lowering), weights)
    if context.train:
        x = x[window]
    x = context.norm(op, x) if op.norm else x
    # In inference the same numbers, in an order in which a converter folds the norm into the convolution, but not the
    # activation: phones know transposed convolutions without one.
    return context.activated(x if context.train else x[window], op, fused=(None,))


@apply_op.register
def _(op: operators.BatchNorm, inputs: list[Map], context: Context) -> Map:
    return context.activated(context.norm(op, inputs[0]), op)


@apply_op.register
def _(op: operators.LayerNorm, inputs: list[Map], context: Context) -> Map:
    weights, mask = context.weights(op), context.mask(op.output.groups)
    settings: dict[str, Any] = {"epsilon": op.epsilon, "dtype": context.dtype, "lowering": context.lowering}
    return layer_norm(inputs[0], weights["scale"], weights["shift"], mask, **settings, numbers=context.numbers)


@apply_op.register
def _(op: operators.UnitNorm, inputs: list[Map], context: Context) -> Map:
    return unit_norm(inputs[0], context.mask(op.output.groups), epsilon=op.epsilon, lowering=context.lowering)


@apply_op.register
def _(op: operators.Attention, inputs: list[Map], context: Context) -> Map:
    return attention(inputs[0], inputs[1], inputs[2], op.heads.size, op.scale, context.numbers)


@apply_op.register
def _(op: operators.Position, inputs: list[Map], context: Context) -> Map:
    (x,) = inputs
    with jax.ensure_compile_time_eval():  # where weights are constants, as in an exported graph, one more is left
        vectors = context.weights(op)["bias"].astype(x.dtype)
        line = vectors[None, :, None] if op.axis == "rows" else vectors[None, None]
        line = resize(line, spatial(x), lowering="native")
    return x + context.numbers.held(line)


@apply_op.register
def _(op: operators.LinearAttention, inputs: list[Map], context: Context) -> Map:
    return linear_attention(inputs[0], inputs[1], inputs[2], context.mask(op.inputs[1].groups), context.numbers)


@apply_op.register
def _(op: operators.Add, inputs: list[Map], context: Context) -> Map:
    total = inputs[0]
    for x in inputs[1:-1]:
        total = context.numbers.held(total + x)
    return context.activated(total + inputs[-1], op)


@apply_op.register
def _(op: operators.Activate, inputs: list[Map], context: Context) -> Map:
    return context.activated(inputs[0], op)


@apply_op.register
def _(op: operators.Gate, inputs: list[Map], context: Context) -> Map:
    gate = context.numbers.activated(activate(inputs[1], op.activation), op.activation)
    return inputs[0] * (context.numbers.held(1 - gate) if op.complement else gate)


@apply_op.register
def _(op: operators.Concat, inputs: list[Map], context: Context) -> Map:
    return jnp.concatenate(inputs, axis=-1)


@apply_op.register
def _(op: operators.Split, inputs: list[Map], context: Context) -> Map:
    assert op.first is not None
    start = sum(group.channels for group in op.inputs[0].groups[: op.first])
    return inputs[0][..., start : start + op.output.channels]


@apply_op.register
def _(op: operators.Shuffle, inputs: list[Map], context: Context) -> Map:
    (x,) = inputs
    order = np.arange(x.shape[-1]).reshape(op.parts, -1).T.reshape(-1)
    if context.lowering == "export":  # phones refuse the reshape to rank 5 and the gather
        return conv2d(x, jnp.eye(x.shape[-1], dtype=x.dtype)[:, order][None, None], lowering=context.lowering)
    return x[..., order]


@apply_op.register
def _(op: operators.PadChannels, inputs: list[Map], context: Context) -> Map:
    missing = op.output.channels - inputs[0].shape[-1]
    return jnp.pad(inputs[0], ((0, 0), (0, 0), (0, 0), (0, missing)))


@apply_op.register
def _(op: operators.Resize, inputs: list[Map], context: Context) -> Map:
    size = spatial(inputs[1]) if len(inputs) > 1 else op.output.extent.step(spatial(inputs[0]))
    settings: dict[str, Any] = {"method": op.method, "align_corners": op.align_corners}
    return resize(inputs[0], size, **settings, lowering=context.lowering, rows_divided=context.division.rows > 1)


@apply_op.register
def _(op: operators.Pool, inputs: list[Map], context: Context) -> Map:
    window = fitting(op.window, spatial(inputs[0])) if op.cut else op.window
    settings: dict[str, Any] = {"window": window, "stride": op.stride, "padding": op.padding}
    if op.kind == "max":
        return max_pool(inputs[0], **settings, lowering=context.lowering)
    return average_pool(inputs[0], **settings, count_padding=op.count_padding, lowering=context.lowering)


@apply_op.register
def _(op: operators.AdaptivePool, inputs: list[Map], context: Context) -> Map:
    bins = spatial(inputs[1]) if len(inputs) > 1 else op.output.extent.step(spatial(inputs[0]))
    return adaptive_average_pool(inputs[0], bins, lowering=context.lowering)


@apply_op.register
def _(op: operators.GlobalMean, inputs: list[Map], context: Context) -> Map:
    return inputs[0].mean((1, 2), keepdims=True)


@apply_op.register
def _(op: operators.Unpool, inputs: list[Map], context: Context) -> Map:
    x, before, pooled = inputs
    size, lowering = spatial(before), context.lowering
    highest, spread = (resize(small, size, method="nearest", lowering=lowering) for small in (pooled, x))
    return jnp.where(before == highest, spread, 0)


@apply_op.register
def _(op: operators.Warp, inputs: list[Map], context: Context) -> Map:
    return warp(inputs[0], inputs[1])


@apply_op.register
def _(op: operators.Coordinates, inputs: list[Map], context: Context) -> Map:
    (x,) = inputs
    return jnp.broadcast_to(coordinates(spatial(x), x.dtype), (*x.shape[:-1], 2))


@apply_op.register
def _(op: operators.Patches, inputs: list[Map], context: Context) -> Map:
    return patches(inputs[0], spatial(inputs[1]))


@apply_op.register
def _(op: operators.CellConv, inputs: list[Map], context: Context) -> Map:
    return cell_conv(inputs[0], inputs[1], op.output.channels)


@apply_op.register
def _(op: operators.CellDepthwise, inputs: list[Map], context: Context) -> Map:
    return cell_depthwise(inputs[0], inputs[1])


@apply_op.register
def _(op: operators.ChannelReduce, inputs: list[Map], context: Context) -> Map:
    (x,), mask = inputs, context.mask(op.inputs[0].groups)
    if op.kind == "max":
        x = x if mask is None else jnp.where(per_pixel(mask) > 0, x, -jnp.inf)
        return channel_max(x)
    number = x.shape[-1]
    if mask is not None:
        x, kept = x * per_pixel(mask).astype(x.dtype), mask.sum().astype(x.dtype)
        return channel_mean(x, context.lowering) * (number if op.kind == "sum" else number / kept)
    return channel_mean(x, context.lowering) * (number if op.kind == "sum" else 1)


@apply_op.register
def _(op: operators.Dropout, inputs: list[Map], context: Context) -> Map:
    shared = {"numbers": (), "maps": (1, 2), "pictures": (1, 2, 3)}[op.of]
    return nn.Dropout(op.rate, broadcast_dims=shared, deterministic=not context.train)(inputs[0])


def _add_bias(x: Map, weights: Mapping[Role, jax.Array]) -> Map:
    return x + per_pixel(weights["bias"].astype(x.dtype)) if "bias" in weights else x
