"""Pooling over windows and bins, with the lowerings of `convolution`."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from rtseg_jax.architecture.extents import Padding, Pads, Size
from rtseg_jax.models.convolution import (
    Lowering,
    conv2d,
    depthwise_conv2d,
    explicit_pads,
    gradient_pads,
    pad,
    spatial,
    taps,
)


def max_pool(
    x: Float[Array, "b h w c"], *, window: Size, stride: Size, padding: Padding, lowering: Lowering
) -> Float[Array, "b h2 w2 c"]:
    """Largest value of each window; of equal values the first receives the gradient."""
    pads = explicit_pads(spatial(x), window, stride, padding)
    if lowering == "cpu":
        return _max_of_taps(x, window, stride, pads)
    if lowering == "export" and pads != explicit_pads(spatial(x), window, stride, "SAME"):
        x, padding = _edges_repeated(x, pads), "VALID"
    # The initial value is a Python scalar: only then does JAX know the reduction as a differentiable maximum.
    where = padding if isinstance(padding, str) else ((0, 0), *padding, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *stride, 1), where)


def _edges_repeated(x: Array, pads: Pads) -> Array:
    """A border of the outermost pixels, to a maximum as good as none: whatever window reaches beyond holds them too.

    Phones refuse a border of −∞.
    """
    for axis, (before, behind) in enumerate(pads, start=1):
        first, last = (lax.slice_in_dim(x, at, at + 1, axis=axis) for at in (0, x.shape[axis] - 1))
        x = jnp.concatenate([*[first] * before, x, *[last] * behind], axis)
    return x


def average_pool(
    x: Float[Array, "b h w c"],
    *,
    window: Size,
    stride: Size,
    padding: Padding,
    count_padding: bool = True,
    lowering: Lowering,
) -> Float[Array, "b h2 w2 c"]:
    """Mean of each window, with zeros beyond the border, as a constant depthwise convolution (phones refuse the op).

    Where `count_padding` is false, what lies beyond the border is left out of the mean.
    """
    pads = explicit_pads(spatial(x), window, stride, padding)
    if stride[0] == stride[1]:
        kernel = jnp.full((*window, 1, x.shape[-1]), 1 / math.prod(window), x.dtype)
        means = depthwise_conv2d(x, kernel, stride=stride[0], padding=_named(padding, pads), lowering=lowering)
    else:
        sums = lax.reduce_window(x, 0.0, lax.add, (1, *window, 1), (1, *stride, 1), ((0, 0), *pads, (0, 0)))
        means = sums / math.prod(window)
    if count_padding:
        return means
    rows, columns = (_counts(*axis) for axis in zip(spatial(x), window, stride, pads, strict=True))
    share = math.prod(window) / np.outer(rows, columns)
    return means * jnp.asarray(share, x.dtype)[None, :, :, None]


def _named(padding: Padding, pads: Pads) -> Padding:
    return padding if isinstance(padding, str) else pads


def _counts(size: int, window: int, stride: int, pads: tuple[int, int]) -> np.ndarray:
    """How many pixels of each window lie on the picture, along one axis."""
    inside = np.pad(np.ones(size), pads)
    return np.asarray([inside[start : start + window].sum() for start in range(0, len(inside) - window + 1, stride)])


def adaptive_average_pool(x: Float[Array, "b h w c"], bins: Size, *, lowering: Lowering) -> Float[Array, "b h2 w2 c"]:
    """Means over bins that share pixels where their number does not divide the picture's.

    Where it does, they are windows; where it does not, sums along each axis. An exported graph has them as 1×1
    convolutions of the map with that axis turned to the channels: phones refuse products of other ranks, and a slice
    and a mean for each row and column made graphs of a thousand operators.
    """
    size = spatial(x)
    if all(n % b == 0 for n, b in zip(size, bins, strict=True)):
        window = (size[0] // bins[0], size[1] // bins[1])
        return average_pool(x, window=window, stride=window, padding="VALID", lowering=lowering)
    rows, columns = (jnp.asarray(_shares(n, b), x.dtype) for n, b in zip(size, bins, strict=True))
    if lowering == "export":
        x = _over_channels(x.transpose(0, 3, 2, 1), rows)  # b c w h
        x = _over_channels(x.transpose(0, 1, 3, 2), columns)  # b c h w
        return x.transpose(0, 2, 3, 1)
    return jnp.einsum("Hh,Ww,bhwc->bHWc", rows, columns, x)


def _over_channels(x: Float[Array, "b h w n"], shares: Float[Array, "m n"]) -> Float[Array, "b h w m"]:
    return conv2d(x, shares.T[None, None], lowering="export")


def _edges(size: int, bins: int) -> list[tuple[int, int]]:
    """First and one past the last pixel of each bin, along one axis."""
    return [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]


def _shares(size: int, bins: int) -> np.ndarray:
    shares = np.zeros((bins, size))
    for row, (start, stop) in zip(shares, _edges(size, bins), strict=True):
        row[start:stop] = 1 / (stop - start)
    return shares


@jax.custom_vjp
def channel_max(x: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
    """Largest channel of each pixel; of equal values the first receives the gradient.

    JAX's own gradient compares channels with the maximum and divides by how many are equal. Where XLA computes `x` once
    more for it, and rounds differently, that is none: infinite gradients.
    """
    return x.max(-1, keepdims=True)


def _channel_max_fwd(x: Array) -> tuple[Array, Array]:
    return channel_max(x), x


def _channel_max_bwd(x: Array, dy: Array) -> tuple[Array]:
    return (dy * jax.nn.one_hot(jnp.argmax(x, -1), x.shape[-1], dtype=dy.dtype),)


channel_max.defvjp(_channel_max_fwd, _channel_max_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_of_taps(x: Array, window: Size, stride: Size, pads: Pads) -> Array:
    return functools.reduce(jnp.maximum, _windows(x, window, stride, pads))


def _max_of_taps_fwd(x: Array, window: Size, stride: Size, pads: Pads) -> tuple[Array, Array]:
    return _max_of_taps(x, window, stride, pads), x


def _max_of_taps_bwd(window: Size, stride: Size, pads: Pads, x: Array, dy: Array) -> tuple[Array]:
    """Every pixel gathers from the windows that chose it (XLA's own scatter runs on one thread)."""
    back = gradient_pads(spatial(x), spatial(dy), window, stride, pads)
    # Without the barriers the spreading by zeros is fused into all nine taps, with a branch for every pixel.
    chosen = lax.optimization_barrier(pad(_first_maximum(x, window, stride, pads), back, stride, fill=-1))
    spread = lax.optimization_barrier(pad(dy, back, stride))
    last = math.prod(window) - 1
    size = spatial(x)
    shifts = zip(taps(chosen, window, size, (1, 1)), taps(spread, window, size, (1, 1)), strict=True)
    return (functools.reduce(jnp.add, [jnp.where(c == last - n, d, 0) for n, (c, d) in enumerate(shifts)]),)


_max_of_taps.defvjp(_max_of_taps_fwd, _max_of_taps_bwd)


def _first_maximum(x: Array, window: Size, stride: Size, pads: Pads) -> Array:
    """Number of the tap, row by row, that holds each window's maximum."""
    windows = _windows(x, window, stride, pads)
    best = windows[0]
    index = jnp.zeros(best.shape, jnp.int32)
    for n, view in enumerate(windows[1:], 1):
        index = jnp.where(view > best, n, index)
        best = jnp.maximum(view, best)
    return index


def _windows(x: Array, window: Size, stride: Size, pads: Pads) -> list[Array]:
    sides = zip(spatial(x), window, stride, pads, strict=True)
    size = tuple((n + sum(ends) - k) // step + 1 for n, k, step, ends in sides)
    return list(taps(pad(x, pads, fill=-jnp.inf), window, (size[0], size[1]), stride))
