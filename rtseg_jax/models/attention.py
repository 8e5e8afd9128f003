"""Norms over channels and attention over pixels."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtseg_jax.models.convolution import Lowering, conv2d
from rtseg_jax.models.rounding import FLOATS, Numbers

Mask = Float[Array, " c"] | None
Map = Float[Array, "b h w c"]


def channel_mean(x: Float[Array, "b h w c"], lowering: Lowering) -> Float[Array, "b h w 1"]:
    """The mean over channels.

    Exported as a convolution: one operator instead of sum, product and reshape; and the sum of squares of a wide token
    can exceed what float16 holds, where phones compute in that.
    """
    if lowering != "export":
        return x.mean(-1, keepdims=True)
    return conv2d(x, jnp.full((1, 1, x.shape[-1], 1), 1 / x.shape[-1], x.dtype), stride=1, lowering=lowering)


def layer_norm(
    x: Map,
    scale: Float[Array, " c"],
    shift: Float[Array, " c"],
    mask: Mask,
    *,
    epsilon: float,
    dtype: Any,
    lowering: Lowering,
    numbers: Numbers = FLOATS,
) -> Map:
    """Layer norm over the kept channels only: mean and variance are divided by their number.

    What masked channels hold afterwards is masked by the next kernel. A file has an operator for every step.
    """
    x = x.astype(jnp.float32)

    def mean(x: Map) -> jax.Array:
        if mask is None:
            return channel_mean(x, lowering)
        return (x * per_pixel(mask)).sum(-1, keepdims=True) / mask.sum()

    average = numbers.held(mean(x))
    variance = mean(numbers.held(jnp.square(numbers.held(x - average))))
    normal = numbers.held(x - average) * numbers.held(jax.lax.rsqrt(numbers.positive(variance + epsilon)))
    scaled = numbers.held(numbers.held(normal) * numbers.held(per_pixel(scale)))
    return (scaled + numbers.held(per_pixel(shift))).astype(dtype)


def unit_norm(x: Map, mask: Mask, *, epsilon: float, lowering: Lowering) -> Map:
    """Every pixel divided by the length of its kept channels, or by `epsilon` where that is more."""
    wide = x.astype(jnp.float32)
    kept = wide if mask is None else wide * per_pixel(mask)
    square = channel_mean(jnp.square(kept), lowering) * x.shape[-1]
    return (wide * jax.lax.rsqrt(jnp.maximum(square, epsilon**2))).astype(x.dtype)


def attention(
    query: Float[Array, "b h w c"],
    key: Float[Array, "b h2 w2 c"],
    value: Float[Array, "b h2 w2 c2"],
    heads: int,
    scale: float | None = None,
    numbers: Numbers = FLOATS,
) -> Float[Array, "b h w c2"]:
    """Softmax(scale · Q·Kᵀ)·V (equation 1 of the paper), in rank 4 with heads as the second axis.

    The paper's equation lost its scale in print; 1/√d is the standard one, and what None stands for.
    """
    b, h, w, c = query.shape
    if (h, w, *key.shape[1:3]) == (1, 1, 1, 1):
        return value  # its weight is 1, which phones refuse to find out: a tensor divided by itself
    scores = numbers.held(jnp.einsum("bhnd,bhmd->bhnm", _split(query, heads), _split(key, heads)))
    scores = numbers.held(scores * ((c // heads) ** -0.5 if scale is None else scale))
    weights = numbers.attention(jax.nn.softmax(scores.astype(jnp.float32), axis=-1)).astype(query.dtype)
    mixed = jnp.einsum("bhnm,bhmd->bhnd", weights, _split(value, heads))
    return mixed.transpose(0, 2, 1, 3).reshape(b, h, w, value.shape[-1])


def linear_attention(
    query: Float[Array, "b h w c"],
    key: Float[Array, "b h2 w2 c"],
    value: Float[Array, "b h2 w2 c2"],
    mask: Mask,
    numbers: Numbers = FLOATS,
) -> Float[Array, "b h w c2"]:
    """Q·(Kᵀ·V), over the kept channels of the keys (`mask`)."""
    b, h, w, _ = query.shape
    key = key if mask is None else key * per_pixel(mask).astype(key.dtype)
    summary = numbers.product(jnp.einsum("bhnd,bhne->bhde", _split(key, 1), _split(value, 1)))
    mixed = jnp.einsum("bhnd,bhde->bhne", _split(query, 1), summary)
    return mixed.reshape(b, h, w, value.shape[-1])


def per_pixel(vector: Float[Array, " c"]) -> Float[Array, "1 1 1 c"]:
    """A number for each channel, to meet a map."""
    return vector[None, None, None, :]


def _split(x: jax.Array, heads: int) -> jax.Array:
    b, h, w, c = x.shape
    return x.reshape(b, h * w, heads, c // heads).transpose(0, 2, 1, 3)
