"""Layers with parameters. Masks act where channels are mixed: on the input channels of a kernel, and in layer norm.

Multiplying a kernel's input channels by 0/1 gives what multiplying the feature map gives, values and gradients, at no
cost in pixels; what the paper draws as a layer behind each convolution (DWBC) becomes a factor of the next kernel.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from rtseg_jax.architecture import graph
from rtseg_jax.models.batch_norm import BatchNorm
from rtseg_jax.models.convolution import Lowering, conv2d, conv_transpose2d, depthwise_conv2d

Mask = Float[Array, " c"] | None

EPSILON = 1e-5
UNSET = nn.initializers.zeros  # layers declare shapes; `initialization.initial_variables` draws the weights


def batch_norm(name: str, train: bool, dtype: Any) -> BatchNorm:
    """Batch norm as everywhere in the networks: statistics in float32, over the global batch."""
    return BatchNorm(train, dtype, name=name)


def activate(x: Float[Array, "b h w c"], activation: graph.Activation) -> Float[Array, "b h w c"]:
    """Applies the named activation; gelu in its tanh form, which phones have as one operator."""
    if activation == "relu":
        return nn.relu(x)
    if activation == "gelu":
        return nn.gelu(x, approximate=True)
    return x


def mask_inputs(kernel: Float[Array, "kh kw i o"], mask: Mask) -> Float[Array, "kh kw i o"]:
    """Removes masked input channels from a kernel."""
    return kernel if mask is None else kernel * mask[None, None, :, None]


class ConvLayer(nn.Module):
    """Convolution with what follows it: bias or batch norm, then an activation."""

    op: graph.Conv
    dtype: Any
    lowering: Lowering

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], mask: Mask, *, train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Maps feature maps; `mask` belongs to the channels of `x`."""
        op, size = self.op, (self.op.kernel, self.op.kernel)
        kernel = self.param("kernel", UNSET, (*size, 1 if op.depthwise else x.shape[-1], op.output.channels))
        if op.depthwise:
            x = depthwise_conv2d(x, kernel.astype(self.dtype), stride=op.stride, lowering=self.lowering)
        else:
            kernel = mask_inputs(kernel, mask).astype(self.dtype)
            x = conv2d(x, kernel, stride=op.stride, lowering=self.lowering)
        if op.bias:
            bias = self.param("bias", nn.initializers.zeros, (op.output.channels,))
            x = x + bias.astype(self.dtype)[None, None, None, :]
        if op.norm:
            x = batch_norm("norm", train, self.dtype)(x)
        return activate(x, op.activation)


class ConvTransposeLayer(nn.Module):
    """De-patching: transposed convolution, cropped to `size`, then batch norm."""

    op: graph.ConvTranspose
    dtype: Any
    lowering: Lowering

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], mask: Mask, size: tuple[int, int], *, train: bool
    ) -> Float[Array, "b h2 w2 c2"]:
        """Maps tokens back to pixels; `mask` belongs to the channels of `x`."""
        shape = (self.op.stride, self.op.stride, x.shape[-1], self.op.output.channels)
        kernel = self.param("kernel", UNSET, shape)
        kernel = mask_inputs(kernel, mask).astype(self.dtype)
        x = conv_transpose2d(x, kernel, stride=self.op.stride, lowering=self.lowering)
        norm = batch_norm("norm", train, self.dtype)
        if train:
            return norm(x[:, : size[0], : size[1]])
        # The same numbers, in the order in which a converter folds the norm into the convolution.
        return norm(x)[:, : size[0], : size[1]]


def channel_mean(x: Float[Array, "b h w c"], lowering: Lowering) -> Float[Array, "b h w 1"]:
    """The mean over channels.

    Exported as a convolution: one operator instead of sum, product and reshape; and the sum of squares of a wide token
    can exceed what float16 holds, where phones compute in that.
    """
    if lowering != "export":
        return x.mean(-1, keepdims=True)
    return conv2d(x, jnp.full((1, 1, x.shape[-1], 1), 1 / x.shape[-1], x.dtype), stride=1, lowering=lowering)


class MaskedLayerNorm(nn.Module):
    """Layer norm over the kept channels only: mean and variance are divided by their number."""

    dtype: Any
    lowering: Lowering

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], mask: Mask) -> Float[Array, "b h w c"]:
        """Normalizes each pixel; what masked channels hold afterwards is masked by the next kernel."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))[None, None, None, :]
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))[None, None, None, :]
        x = x.astype(jnp.float32)
        if mask is None:
            mean = channel_mean(x, self.lowering)
            variance = channel_mean(jnp.square(x - mean), self.lowering)
        else:
            kept = mask[None, None, None, :]
            number = mask.sum()
            mean = (x * kept).sum(-1, keepdims=True) / number
            variance = (jnp.square(x - mean) * kept).sum(-1, keepdims=True) / number
        return ((x - mean) * jax.lax.rsqrt(variance + EPSILON) * scale + bias).astype(self.dtype)


def attention(
    query: Float[Array, "b h w c"], key: Float[Array, "b h w c"], value: Float[Array, "b h w c"], heads: int
) -> Float[Array, "b h w c"]:
    """Softmax(Q·Kᵀ/√d)·V over all pixels (equation 1 of the paper), in rank 4 with heads as the second axis.

    The paper's equation lost its scale in print; 1/√d is the standard one.
    """
    b, h, w, c = query.shape

    def split(x: jax.Array) -> jax.Array:
        return x.reshape(b, h * w, heads, c // heads).transpose(0, 2, 1, 3)

    scores = jnp.einsum("bhnd,bhmd->bhnm", split(query), split(key)) * (c // heads) ** -0.5
    weights = jax.nn.softmax(scores.astype(jnp.float32), axis=-1).astype(query.dtype)
    mixed = jnp.einsum("bhnm,bhmd->bhnd", weights, split(value))
    return mixed.transpose(0, 2, 1, 3).reshape(b, h, w, c)
