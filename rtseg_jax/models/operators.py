"""What every declared operator computes: one function per operator type."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from rtseg_jax.architecture import graph
from rtseg_jax.architecture.graph import Op, Tensor
from rtseg_jax.models.convolution import Lowering
from rtseg_jax.models.layers import (
    ConvLayer,
    ConvTransposeLayer,
    Mask,
    MaskedLayerNorm,
    activate,
    attention,
    batch_norm,
)
from rtseg_jax.models.pooling import avg_pool_3x3_s2, max_pool_3x3_s2
from rtseg_jax.models.resize import resize_bilinear

Masks = Mapping[str, Float[Array, " _"]] | None
Map = Float[Array, "b _ _ _"]  # the maps of one operator differ in size and channels


@dataclasses.dataclass(frozen=True)
class Context:
    """What operators share: masks by group name (None: nothing is masked), mode, compute dtype, lowering."""

    masks: Masks
    train: bool
    dtype: Any
    lowering: Lowering

    def mask(self, tensor: Tensor) -> Mask:
        """Mask of a tensor's channels, in their order."""
        if self.masks is None or not any(group.name in self.masks for group in tensor.groups):
            return None
        return jnp.concatenate([self._group_mask(group) for group in tensor.groups])

    def _group_mask(self, group: graph.Group) -> jax.Array:
        assert self.masks is not None
        mask = self.masks.get(group.name, jnp.ones(group.size))
        return jnp.repeat(mask, group.unit, total_repeat_length=group.size * group.unit)


@functools.singledispatch
def apply_op(op: Op, inputs: list[Map], context: Context) -> Map:
    """Computes an operator; must be called inside the `nn.compact` method of its block."""
    raise NotImplementedError(f"operator {type(op).__name__} has no implementation")


@apply_op.register
def _(op: graph.Conv, inputs: list[Map], context: Context) -> Map:
    layer = ConvLayer(op, context.dtype, context.lowering, name=op.name)
    return layer(inputs[0], context.mask(op.inputs[0]), train=context.train)


@apply_op.register
def _(op: graph.ConvTranspose, inputs: list[Map], context: Context) -> Map:
    layer = ConvTransposeLayer(op, context.dtype, context.lowering, name=op.name)
    return layer(inputs[0], context.mask(op.inputs[0]), spatial(inputs[1]), train=context.train)


@apply_op.register
def _(op: graph.BatchNorm, inputs: list[Map], context: Context) -> Map:
    return batch_norm(op.name, context.train, context.dtype)(inputs[0])


@apply_op.register
def _(op: graph.LayerNorm, inputs: list[Map], context: Context) -> Map:
    return MaskedLayerNorm(context.dtype, context.lowering, name=op.name)(inputs[0], context.mask(op.inputs[0]))


@apply_op.register
def _(op: graph.Attention, inputs: list[Map], context: Context) -> Map:
    return attention(inputs[0], inputs[1], inputs[2], heads=op.output.groups[0].size)


@apply_op.register
def _(op: graph.Add, inputs: list[Map], context: Context) -> Map:
    return activate(functools.reduce(jnp.add, inputs), op.activation)


@apply_op.register
def _(op: graph.Gate, inputs: list[Map], context: Context) -> Map:
    return inputs[0] * nn.sigmoid(inputs[1])


@apply_op.register
def _(op: graph.Concat, inputs: list[Map], context: Context) -> Map:
    return jnp.concatenate(inputs, axis=-1)


@apply_op.register
def _(op: graph.Resize, inputs: list[Map], context: Context) -> Map:
    return resize_bilinear(inputs[0], spatial(inputs[1]), lowering=context.lowering)


@apply_op.register
def _(op: graph.Pool, inputs: list[Map], context: Context) -> Map:
    pool = max_pool_3x3_s2 if op.kind == "max" else avg_pool_3x3_s2
    return pool(inputs[0], lowering=context.lowering)


@apply_op.register
def _(op: graph.GlobalMean, inputs: list[Map], context: Context) -> Map:
    return inputs[0].mean((1, 2), keepdims=True)


@apply_op.register
def _(op: graph.Dropout, inputs: list[Map], context: Context) -> Map:
    return nn.Dropout(op.rate, deterministic=not context.train)(inputs[0])


def spatial(x: Map) -> tuple[int, int]:
    """Height and width of a feature map."""
    return (x.shape[1], x.shape[2])
