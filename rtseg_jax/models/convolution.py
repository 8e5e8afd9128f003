"""Convolutions with one choice of lowering, made in one place.

Accelerators and the exported graph want `lax.conv_general_dilated` as it is. XLA's CPU backend runs grouped
convolutions about twenty times slower than nine shifted multiply-adds, and computes the weight gradient of pointwise
convolutions two to three times slower than the matrix product that it is; the `cpu` lowering writes these out. All
lowerings give the same numbers up to the order of summation, for values and for gradients.
"""

import functools
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Num

Lowering = Literal["native", "cpu", "export"]
Padding = Literal["SAME", "VALID"]
Size = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]

_NHWC = ("NHWC", "HWIO", "NHWC")


def default_lowering() -> Lowering:
    """The lowering that trains fastest on this process's backend."""
    return "cpu" if jax.default_backend() == "cpu" else "native"


def conv2d(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    *,
    stride: int = 1,
    padding: Padding = "SAME",
    lowering: Lowering,
) -> Float[Array, "b h2 w2 o"]:
    """Full convolution; grouped where the kernel has fewer input channels (`i`) than `x` (`c`)."""
    groups = x.shape[-1] // kernel.shape[2]
    if lowering != "cpu" or groups > 1:
        return _native(x, kernel, stride, padding, groups)
    if kernel.shape[:2] == (1, 1):
        return _pointwise(x[:, ::stride, ::stride], kernel)
    return _native(x, kernel, stride, padding, groups)


def depthwise_conv2d(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw 1 o"], *, stride: int = 1, lowering: Lowering
) -> Float[Array, "b h2 w2 o"]:
    """Depthwise convolution, `SAME`; output channel `i·m + j` is filter `j` of input channel `i` (`m = o / c`)."""
    if lowering != "cpu":
        return _native(x, kernel, stride, "SAME", x.shape[-1])
    multiplier = kernel.shape[-1] // x.shape[-1]
    return _shifted(jnp.repeat(x, multiplier, axis=-1) if multiplier > 1 else x, kernel, stride)


def conv_transpose2d(
    x: Float[Array, "b h w c"], kernel: Float[Array, "p p c o"], *, stride: int, lowering: Lowering
) -> Float[Array, "b h2 w2 o"]:
    """Transposed convolution of non-overlapping patches: every pixel becomes a `stride × stride` patch.

    As in `lax`, the kernel is placed turned round: its last tap makes the first pixel of the patch.
    """
    if kernel.shape[:2] != (stride, stride):
        raise ValueError(f"conv_transpose2d needs a {stride}×{stride} kernel at stride {stride}, got {kernel.shape}")
    if lowering != "cpu":
        return lax.conv_transpose(x, kernel, (stride, stride), "VALID", dimension_numbers=_NHWC)
    b, h, w, c = x.shape
    # `lax` places a kernel turned round: its last tap is the patch's first pixel.
    flat = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(1, 1, c, -1)
    patches = _pointwise(x, flat).reshape(b, h, w, stride, stride, -1).transpose(0, 1, 3, 2, 4, 5)
    return patches.reshape(b, h * stride, w * stride, -1)


def _native(x: Array, kernel: Array, stride: int, padding: Padding, groups: int) -> Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=_NHWC, feature_group_count=groups
    )


@jax.custom_vjp
def _pointwise(x: Array, kernel: Array) -> Array:
    """1×1 convolution whose weight gradient is a matrix product."""
    return _native(x, kernel, 1, "VALID", 1)


def _pointwise_fwd(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _pointwise(x, kernel), (x, kernel)


def _pointwise_bwd(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    dx = _native(dy, jnp.swapaxes(kernel, 2, 3), 1, "VALID", 1)
    every_pixel = ((0, 1, 2), (0, 1, 2))
    dw = lax.dot_general(x, dy, (every_pixel, ((), ())), preferred_element_type=jnp.float32)
    return dx, dw.astype(kernel.dtype)[None, None]


_pointwise.defvjp(_pointwise_fwd, _pointwise_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _shifted(x: Array, kernel: Array, stride: int) -> Array:
    """Depthwise convolution as a sum of shifted pictures, one multiply-add per tap, which XLA fuses into one loop."""
    pads = same_pads(x.shape[1:3], kernel.shape[:2], stride)
    return _correlate(pad(x, pads), kernel, stride).astype(x.dtype)


def _shifted_fwd(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _shifted(x, kernel, stride), (x, kernel)


def _shifted_bwd(stride: int, residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    # The same sum of shifts with the kernel turned round, over `dy` with zeros between its pixels at stride 2.
    pads = gradient_pads(x.shape[1:3], dy.shape[1:3], kernel.shape[:2], stride)
    dx = _correlate(pad(dy, pads, stride - 1), kernel[::-1, ::-1], 1).astype(x.dtype)
    return dx, _shifted_kernel_gradient(x, kernel, dy, stride)


_shifted.defvjp(_shifted_fwd, _shifted_bwd)


def _shifted_kernel_gradient(x: Array, kernel: Array, dy: Array, stride: int) -> Array:
    # Fused into a sum over every pixel, the nine products run on one thread without vector instructions. One loop over
    # the batch computes all nine with both, and the barrier keeps XLA from joining it with the plain sum that follows.
    padded = pad(x, same_pads(x.shape[1:3], kernel.shape[:2], stride)).astype(jnp.float32)
    views = taps(lax.optimization_barrier(padded), kernel.shape[:2], dy.shape[1:3], stride)
    products = [view * dy.astype(jnp.float32) for view in views]
    zeros = [jnp.zeros((), jnp.float32)] * len(products)
    maps = lax.reduce(products, zeros, lambda a, b: [jnp.add(u, v) for u, v in zip(a, b, strict=True)], (0,))
    sums = [jnp.sum(lax.optimization_barrier(m), (0, 1)) for m in maps]
    return jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)


def _correlate(padded: Array, kernel: Array, stride: int) -> Array:
    """Σ over taps of shifted picture × weight, in float32; `padded` already carries its border."""
    weights = kernel.reshape(-1, kernel.shape[-1]).astype(jnp.float32)
    size = tuple((n - k) // stride + 1 for n, k in zip(padded.shape[1:3], kernel.shape[:2], strict=True))
    views = taps(padded, kernel.shape[:2], size, stride)
    terms = [view.astype(jnp.float32) * w[None, None, None] for view, w in zip(views, weights, strict=True)]
    return functools.reduce(jnp.add, terms)


def same_pads(size: Size, kernel: Size, stride: int) -> Pads:
    """`SAME` padding (before, after) for height and width: at stride 2 an even size gets more after than before."""
    return tuple(lax.padtype_to_pads(size, kernel, (stride, stride), "SAME"))


def gradient_pads(size: Size, out: Size, kernel: Size, stride: int) -> Pads:
    """Padding of the output's gradient, spread by `stride`, under which stride 1 leads back to the input's `size`."""
    pads = []
    for n, m, k, (low, _) in zip(size, out, kernel, same_pads(size, kernel, stride), strict=True):
        before = k - 1 - low
        pads.append((before, n + k - 1 - before - ((m - 1) * stride + 1)))
    return tuple(pads)


def pad(x: Num[Array, "b h w c"], pads: Pads, interior: int = 0, fill: float | int = 0) -> Num[Array, "b h2 w2 c"]:
    """Put a border of `fill` around pictures, and `interior` pixels of it between theirs."""
    config = [(0, 0, 0), *((before, after, interior) for before, after in pads), (0, 0, 0)]
    return lax.pad(x, jnp.array(fill, x.dtype), config)


def taps(padded: Num[Array, "b h w c"], kernel: Size, size: Size, stride: int) -> Iterator[Num[Array, "b h2 w2 c"]]:
    """The picture as each position of the kernel sees it, row by row, `size` pixels each."""
    b, _, _, c = padded.shape
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            end = (i + (size[0] - 1) * stride + 1, j + (size[1] - 1) * stride + 1)
            yield lax.slice(padded, (0, i, j, 0), (b, *end, c), (1, stride, stride, 1))
