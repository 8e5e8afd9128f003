"""Convolutions with one choice of lowering, made in one place.

Accelerators and the exported graph want `lax.conv_general_dilated` as it is. XLA's CPU backend runs grouped
convolutions about twenty times slower than nine shifted multiply-adds, and weight gradients up to three times slower
than the matrix products that they are; the `cpu` lowering writes these out. All lowerings give the same numbers up to
the order of summation, for values and for gradients.
"""

import functools
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from rtseg_jax.architecture.extents import Padding, Pads, Size, dilated
from rtseg_jax.models import winograd
from rtseg_jax.models.division import WHOLE, Division, largest_divisor

Lowering = Literal["native", "cpu", "export"]

SLICE = 4  # channels that GPU delegates store together
CACHED = 2**20  # bytes that stay in a core's cache with room for what is computed from them
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
    dilation: int = 1,
    lowering: Lowering,
    division: Division = WHOLE,
) -> Float[Array, "b h2 w2 o"]:
    """Full convolution; grouped where the kernel has fewer input channels (`i`) than `x` (`c`)."""
    groups = x.shape[-1] // kernel.shape[2]
    if lowering == "cpu" and groups == 1 and kernel.shape[:2] == (1, 1) and not _borders(padding):
        return _pointwise(x[:, ::stride, ::stride], kernel)
    # Rows that devices share are not gone through one after the other.
    if lowering == "cpu" and groups == 1 and division.rows == 1:
        window = dilated(window_of(kernel), dilation)
        pads = explicit_pads(spatial(x), window, (stride, stride), padding)
        if winograd.pays(x, kernel, stride, dilation, division):
            return winograd.conv3x3(x, kernel, pads, division)
        return _full(x, kernel, stride, pads, dilation, division)
    if lowering == "export" and groups > 1 and (kernel.shape[2] % SLICE or kernel.shape[3] // groups % SLICE):
        return _ungrouped(x, kernel, stride, padding, dilation, groups)
    return _native(x, kernel, stride, padding, groups, dilation)


def _ungrouped(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    stride: int,
    padding: Padding,
    dilation: int,
    groups: int,
) -> Float[Array, "b h2 w2 o"]:
    """A grouped convolution without groups: phones store channels in slices of four, and end where a group is none.

    Where every group makes one channel: a depthwise convolution, whose channels are then summed by group. Else zeros
    fill the kernel up.
    """
    height, width, inputs, outputs = kernel.shape
    # Constants are written out: the converter folds nothing but the simplest arithmetic.
    own = np.kron(np.eye(groups), np.ones((inputs, outputs // groups))).astype(kernel.dtype)
    if outputs == groups and height * width > 1:
        each = kernel.transpose(0, 1, 3, 2).reshape(height, width, 1, groups * inputs)
        y = _native(x, each, stride, padding, groups * inputs, dilation)
        return _native(y, jnp.asarray(own)[None, None], 1, "VALID", 1, 1)
    filled = jnp.concatenate([kernel] * groups, axis=2) * own[None, None]
    return _native(x, filled, stride, padding, 1, dilation)


def depthwise_conv2d(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw 1 o"],
    *,
    stride: int = 1,
    padding: Padding = "SAME",
    dilation: int = 1,
    lowering: Lowering,
) -> Float[Array, "b h2 w2 o"]:
    """Depthwise convolution; output channel `i·m + j` is filter `j` of input channel `i` (`m = o / c`)."""
    if lowering != "cpu":
        return _native(x, kernel, stride, padding, x.shape[-1], dilation)
    multiplier = kernel.shape[-1] // x.shape[-1]
    pads = explicit_pads(spatial(x), dilated(window_of(kernel), dilation), (stride, stride), padding)
    return _shifted(jnp.repeat(x, multiplier, axis=-1) if multiplier > 1 else x, kernel, stride, pads, dilation)


def conv_transpose2d(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c o"], *, stride: int, lowering: Lowering
) -> Float[Array, "b h2 w2 o"]:
    """Transposed convolution, all of it: what overlapping patches stick out by is for `transpose_margin` to cut.

    As in `lax`, the kernel is placed turned round: its last tap makes the first pixel of the patch.
    """
    if min(kernel.shape[:2]) < stride:
        raise ValueError(f"conv_transpose2d needs a kernel of {stride}×{stride} at least, got {kernel.shape}")
    if lowering == "cpu" and kernel.shape[:2] == (stride, stride):
        return _patches(x, kernel, stride)
    # With less padding than all of it, the converter writes a layer that is shifted by a pixel.
    return lax.conv_transpose(x, kernel, (stride, stride), "VALID", dimension_numbers=_NHWC)


def transpose_margin(kernel: Size, stride: int) -> Size:
    """Rows and columns that PyTorch's padding cuts off in front, to end at `stride` times the size."""
    return ((kernel[0] - stride + 1) // 2, (kernel[1] - stride + 1) // 2)


def _patches(x: Array, kernel: Array, stride: int) -> Array:
    """Every pixel becomes a patch that overlaps no other."""
    b, h, w, c = x.shape
    # `lax` places a kernel turned round: its last tap is the patch's first pixel.
    flat = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(1, 1, c, -1)
    patches = _pointwise(x, flat).reshape(b, h, w, stride, stride, -1).transpose(0, 1, 3, 2, 4, 5)
    return patches.reshape(b, h * stride, w * stride, -1)


def _native(x: Array, kernel: Array, stride: int, padding: Padding, groups: int, dilation: int = 1) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_NHWC,
        feature_group_count=groups,
    )


def _borders(padding: Padding) -> bool:
    return not isinstance(padding, str) and any(map(any, padding))


@jax.custom_vjp
def _pointwise(x: Array, kernel: Array) -> Array:
    """1×1 convolution whose weight gradient is a matrix product."""
    return _native(x, kernel, 1, "VALID", 1)


def _pointwise_fwd(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _pointwise(x, kernel), (x, kernel)


def _pointwise_bwd(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    dx = _native(dy, jnp.swapaxes(kernel, 2, 3), 1, "VALID", 1)
    return dx, _over_pixels(x, dy).astype(kernel.dtype)[None, None]


_pointwise.defvjp(_pointwise_fwd, _pointwise_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _full(x: Array, kernel: Array, stride: int, pads: Pads, dilation: int, division: Division) -> Array:
    """Convolution whose weight gradient is a sum of matrix products."""
    return _native(x, kernel, stride, pads, 1, dilation)


def _full_fwd(
    x: Array, kernel: Array, stride: int, pads: Pads, dilation: int, division: Division
) -> tuple[Array, tuple[Array, Array]]:
    return _full(x, kernel, stride, pads, dilation, division), (x, kernel)


def _full_bwd(
    stride: int, pads: Pads, dilation: int, division: Division, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    (dx,) = jax.vjp(lambda x: _native(x, kernel, stride, pads, 1, dilation), x)[1](dy)
    gradient = functools.partial(_full_kernel_gradient, window=window_of(kernel), stride=stride, dilation=dilation)
    return dx, division.sums(gradient, pad(x, pads), dy).astype(kernel.dtype)


_full.defvjp(_full_fwd, _full_bwd)


def _full_kernel_gradient(padded: Array, dy: Array, *, window: Size, stride: int, dilation: int) -> Array:
    # Every pixel's window as one row of a matrix makes the gradient one product. The matrix is many times as large as
    # the picture, so it is made for a few rows of the picture at a time, which stay in the cache.
    (b, height, width, outputs), channels = dy.shape, padded.shape[-1]
    seen = window[0] * window[1] * channels
    row = b * width * seen * jnp.dtype(padded.dtype).itemsize
    rows = largest_divisor(height, CACHED // row)
    read = (rows - 1) * stride + dilated(window, dilation)[0]
    kernel_first = seen < outputs  # the CPU's product is about twice as fast with the smaller side first

    def add(n: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        total, windows = carry
        part = lax.dynamic_slice_in_dim(padded, n * rows * stride, read, 1)
        for tap, view in enumerate(taps(part, window, (rows, width), (stride, stride), dilation)):
            windows = lax.dynamic_update_slice_in_dim(windows, view, tap * channels, 3)  # in place
        sides = (windows, lax.dynamic_slice_in_dim(dy, n * rows, rows, 1))
        return total + _over_pixels(*(sides if kernel_first else sides[::-1])), windows

    shape = (seen, outputs) if kernel_first else (outputs, seen)
    start = (jnp.zeros(shape, jnp.float32), jnp.zeros((b, rows, width, seen), padded.dtype))
    total, _ = lax.fori_loop(0, height // rows, add, start)
    return (total if kernel_first else total.T).reshape(*window, channels, outputs)


def _over_pixels(x: Array, y: Array) -> Array:
    """Σ over all pixels of every channel of `x` × every channel of `y`, in float32."""
    every_pixel = ((0, 1, 2), (0, 1, 2))
    return lax.dot_general(x, y, (every_pixel, ((), ())), preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _shifted(x: Array, kernel: Array, stride: int, pads: Pads, dilation: int) -> Array:
    """Depthwise convolution as a sum of shifted pictures, one multiply-add per tap, which XLA fuses into one loop."""
    return _correlate(pad(x, pads), kernel, stride, dilation).astype(x.dtype)


def _shifted_fwd(x: Array, kernel: Array, stride: int, pads: Pads, dilation: int) -> tuple[Array, tuple[Array, Array]]:
    return _shifted(x, kernel, stride, pads, dilation), (x, kernel)


def _shifted_bwd(
    stride: int, pads: Pads, dilation: int, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    # The same sum of shifts with the kernel turned round, over `dy` with zeros between its pixels at stride 2.
    back = gradient_pads(spatial(x), spatial(dy), dilated(window_of(kernel), dilation), (stride, stride), pads)
    dx = _correlate(pad(dy, back, (stride, stride)), kernel[::-1, ::-1], 1, dilation).astype(x.dtype)
    return dx, _shifted_kernel_gradient(x, kernel, dy, stride, pads, dilation)


_shifted.defvjp(_shifted_fwd, _shifted_bwd)


def _shifted_kernel_gradient(x: Array, kernel: Array, dy: Array, stride: int, pads: Pads, dilation: int) -> Array:
    # Fused into a sum over every pixel, the nine products run on one thread without vector instructions. One loop over
    # the batch computes all nine with both, and the barrier keeps XLA from joining it with the plain sum that follows.
    padded = pad(x, pads).astype(jnp.float32)
    views = taps(lax.optimization_barrier(padded), window_of(kernel), spatial(dy), (stride, stride), dilation)
    products = [view * dy.astype(jnp.float32) for view in views]
    zeros = [jnp.zeros((), jnp.float32)] * len(products)
    maps = lax.reduce(products, zeros, lambda a, b: [jnp.add(u, v) for u, v in zip(a, b, strict=True)], (0,))
    sums = [jnp.sum(lax.optimization_barrier(m), (0, 1)) for m in maps]
    return jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)


def _correlate(padded: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """Σ over taps of shifted picture × weight, in float32; `padded` already carries its border."""
    weights = kernel.reshape(-1, kernel.shape[-1]).astype(jnp.float32)
    window = dilated(window_of(kernel), dilation)
    height, width = ((n - k) // stride + 1 for n, k in zip(spatial(padded), window, strict=True))
    views = taps(padded, window_of(kernel), (height, width), (stride, stride), dilation)
    terms = [view.astype(jnp.float32) * w[None, None, None] for view, w in zip(views, weights, strict=True)]
    return functools.reduce(jnp.add, terms)


def spatial(x: Num[Array, "b h w c"]) -> Size:
    """Height and width of pictures."""
    return (x.shape[1], x.shape[2])


def window_of(kernel: Num[Array, "kh kw i o"]) -> Size:
    """Height and width of a kernel."""
    return (kernel.shape[0], kernel.shape[1])


def explicit_pads(size: Size, window: Size, stride: Size, padding: Padding) -> Pads:
    """(before, after) of height and width; `SAME` at stride 2 puts more after than before an even size."""
    if not isinstance(padding, str):
        return padding
    (top, left) = lax.padtype_to_pads(size, window, stride, padding)
    return (top, left)


def gradient_pads(size: Size, out: Size, window: Size, stride: Size, pads: Pads) -> Pads:
    """Padding of the output's gradient, spread by `stride`, under which stride 1 leads back to the input's `size`."""
    result = []
    for n, m, k, step, (low, _) in zip(size, out, window, stride, pads, strict=True):
        before = k - 1 - low
        result.append((before, n + k - 1 - before - ((m - 1) * step + 1)))
    (top, left) = result
    return (top, left)


def pad(x: Num[Array, "b h w c"], pads: Pads, spread: Size = (1, 1), fill: float | int = 0) -> Num[Array, "b h2 w2 c"]:
    """Puts a border of `fill` around pictures, and pixels of it between theirs, so that they lie `spread` apart."""
    config = [(0, 0, 0), *((*ends, step - 1) for ends, step in zip(pads, spread, strict=True)), (0, 0, 0)]
    return lax.pad(x, jnp.array(fill, x.dtype), config)


def taps(
    padded: Num[Array, "b h w c"], kernel: Size, size: Size, stride: Size, dilation: int = 1
) -> Iterator[Num[Array, "b h2 w2 c"]]:
    """The picture as each position of the kernel sees it, row by row, `size` pixels each."""
    b, _, _, c = padded.shape
    for i in range(0, kernel[0] * dilation, dilation):
        for j in range(0, kernel[1] * dilation, dilation):
            end = (i + (size[0] - 1) * stride[0] + 1, j + (size[1] - 1) * stride[1] + 1)
            yield lax.slice(padded, (0, i, j, 0), (b, *end, c), (1, *stride, 1))
