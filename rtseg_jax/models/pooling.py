"""3×3 pooling at stride 2, `SAME`, with the lowerings of `convolution`."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from rtseg_jax.models.convolution import Lowering, depthwise_conv2d, gradient_pads, pad, same_pads, taps

_WINDOW = (3, 3)
_STRIDE = 2


def max_pool_3x3_s2(x: Float[Array, "b h w c"], *, lowering: Lowering) -> Float[Array, "b h2 w2 c"]:
    """Largest value of each window; of equal values the first receives the gradient."""
    if lowering == "cpu":
        return _max_of_taps(x)
    # The initial value is a Python scalar: only then does JAX know the reduction as a differentiable maximum.
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *_WINDOW, 1), (1, _STRIDE, _STRIDE, 1), "SAME")


def avg_pool_3x3_s2(x: Float[Array, "b h w c"], *, lowering: Lowering) -> Float[Array, "b h2 w2 c"]:
    """Mean of nine with zeros beyond the border, as a constant depthwise convolution (phones refuse the pooling op)."""
    kernel = jnp.full((*_WINDOW, 1, x.shape[-1]), 1 / 9, x.dtype)
    return depthwise_conv2d(x, kernel, stride=_STRIDE, lowering=lowering)


@jax.custom_vjp
def _max_of_taps(x: Array) -> Array:
    return functools.reduce(jnp.maximum, _windows(x))


def _max_of_taps_fwd(x: Array) -> tuple[Array, Array]:
    return _max_of_taps(x), x


def _max_of_taps_bwd(x: Array, dy: Array) -> tuple[Array]:
    """Every pixel gathers from the windows that chose it (XLA's own scatter runs on one thread)."""
    pads = gradient_pads(x.shape[1:3], dy.shape[1:3], _WINDOW, _STRIDE)
    # Without the barriers the spreading by zeros is fused into all nine taps, with a branch for every pixel.
    chosen = lax.optimization_barrier(pad(_first_maximum(x), pads, _STRIDE - 1, fill=-1))
    spread = lax.optimization_barrier(pad(dy, pads, _STRIDE - 1))
    last = _WINDOW[0] * _WINDOW[1] - 1
    shifts = zip(taps(chosen, _WINDOW, x.shape[1:3], 1), taps(spread, _WINDOW, x.shape[1:3], 1), strict=True)
    return (functools.reduce(jnp.add, [jnp.where(c == last - n, d, 0) for n, (c, d) in enumerate(shifts)]),)


_max_of_taps.defvjp(_max_of_taps_fwd, _max_of_taps_bwd)


def _first_maximum(x: Array) -> Array:
    """Number of the tap, row by row, that holds each window's maximum."""
    windows = _windows(x)
    best = windows[0]
    index = jnp.zeros(best.shape, jnp.int32)
    for n, window in enumerate(windows[1:], 1):
        index = jnp.where(window > best, n, index)
        best = jnp.maximum(window, best)
    return index


def _windows(x: Array) -> list[Array]:
    pads = same_pads(x.shape[1:3], _WINDOW, _STRIDE)
    size = tuple(-(-n // _STRIDE) for n in x.shape[1:3])
    return list(taps(pad(x, pads, fill=-jnp.inf), _WINDOW, size, _STRIDE))
