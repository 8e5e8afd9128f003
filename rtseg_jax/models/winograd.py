"""Winograd's form of 3×3 convolutions, F(2×2, 3×3): 16 products for four pixels, where the plain form has 36.

Tiles of 4×4 pixels, two apart, and the kernel are turned by additions into 16 pictures and 16 matrices; their products,
turned back, are 2×2 pixels of the output. Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
section 4.1. The 16 are kept as arrays of their own: XLA's CPU backend writes one stacked array three times as slowly,
and it computes each transform once only behind a barrier.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from rtseg_jax.architecture.extents import Pads
from rtseg_jax.models.division import WHOLE, Division, largest_divisor

LEAST_REUSE = 40
"""Sums of a transform are worth their time from this many products each on: c·o / (c + o), by measurement."""

LEAST_MACS = 2e8
"""Of the plain form: of less, too little is saved in a thousand steps for the two seconds that this compiles longer."""

LARGEST = 2**23
"""Bytes of a device's turned pictures: of more, additions wait for memory, and little or nothing is saved."""

TILES = 512
"""At a time, in the gradient of kernels."""

Transform = Callable[[Sequence[Array]], list[Array]]
Products = list[Array]  # 16, row by row
_ALL = ((0, 1, 2), (0, 1, 2))


def pays(
    x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], stride: int, dilation: int, division: Division
) -> bool:
    """Whether this form is there for a convolution, and worth it on a CPU."""
    height, width, inputs, outputs = kernel.shape
    fits = (height, width, stride, dilation) == (3, 3, 1, 1) and kernel.dtype == jnp.float32
    turned = 4 * x.size * x.dtype.itemsize / division.pictures
    much = 9 * x.size * outputs >= LEAST_MACS and inputs * outputs >= LEAST_REUSE * (inputs + outputs)
    return fits and much and turned <= LARGEST


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv3x3(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c o"], pads: Pads, division: Division = WHOLE
) -> Float[Array, "b h2 w2 o"]:
    """3×3 convolution of stride 1, equal to `lax.conv_general_dilated` but for rounding: 1e-6 of the largest value."""
    return _forward(x, kernel, pads, division)[0]


def _forward(x: Array, kernel: Array, pads: Pads, _: Division) -> tuple[Array, tuple[Array, Array]]:
    products = [_product(*pair) for pair in zip(_pictures(x, pads), _matrices(kernel), strict=True)]
    pixels = _both(_to_pixels, _square(lax.optimization_barrier(products)))
    height, width = (size + sum(pad) - 2 for size, pad in zip(x.shape[1:3], pads, strict=True))
    return _interleaved(pixels)[:, :height, :width], (x, kernel)


def _backward(pads: Pads, division: Division, residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    slopes = _slopes(dy)
    back = [_product(slope, matrix.T) for slope, matrix in zip(slopes, _matrices(kernel), strict=True)]
    tiles = _both(_from_turned, _square(lax.optimization_barrier(back)))
    (top, _), (left, _) = pads
    dx = _overlapping(tiles)[:, top : top + x.shape[1], left : left + x.shape[2]]
    sums = lax.optimization_barrier(division.sums(_over_tiles, _pictures(x, pads), slopes))
    taps = _both(_from_matrices, _square(sums))
    return dx, jnp.stack([jnp.stack(row) for row in taps])


conv3x3.defvjp(_forward, _backward)


def _pictures(x: Array, pads: Pads) -> Products:
    """Every tile turned; tiles stick out over the padding where the output is odd."""
    rows, columns = (-(-(size + sum(pad) - 2) // 2) for size, pad in zip(x.shape[1:3], pads, strict=True))
    (top, _), (left, _) = pads
    height, width = x.shape[1:3]
    ends = (2 * rows + 2 - height - top, 2 * columns + 2 - width - left)
    padded = jnp.pad(x, ((0, 0), (top, ends[0]), (left, ends[1]), (0, 0)))
    tiles = [[padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for j in range(4)] for i in range(4)]
    return _sixteen(_to_turned, tiles)


def _matrices(kernel: Array) -> Products:
    return _sixteen(_to_matrices, [list(row) for row in kernel])


def _slopes(dy: Array) -> Products:
    """What the gradient of the output is for each of the 16 products."""
    b, height, width, channels = dy.shape
    whole = jnp.pad(dy, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    cells = whole.reshape(b, -(-height // 2), 2, -(-width // 2), 2, channels)
    pixels = [[cells[:, :, i, :, j] for j in range(2)] for i in range(2)]
    return _sixteen(_from_pixels, pixels)


def _product(picture: Array, matrix: Array) -> Array:
    return lax.dot_general(picture, matrix, (((3,), (0,)), ((), ())))


def _over_tiles(pictures: Products, slopes: Products) -> Products:
    """Gradients of the matrices. A loop over some rows: else XLA turns and transposes pictures at once, slowly."""
    b, height, width, c = pictures[0].shape
    o = slopes[0].shape[3]
    rows = largest_divisor(height, TILES // (b * width))
    first = c <= o  # a CPU's product is about twice as fast with the smaller side first

    def add(n: Array, sums: Products) -> Products:
        here = [[lax.dynamic_slice_in_dim(a, n * rows, rows, 1) for a in of] for of in (pictures, slopes)]
        pairs = zip(*(here if first else here[::-1]), strict=True)
        return [total + lax.dot_general(a, b, (_ALL, ((), ()))) for total, (a, b) in zip(sums, pairs, strict=True)]

    start = [jnp.zeros((c, o) if first else (o, c))] * len(pictures)
    sums = lax.fori_loop(0, height // rows, add, start)
    return sums if first else [total.T for total in sums]


def _sixteen(transform: Transform, square: Sequence[Sequence[Array]]) -> Products:
    """What enters the products, computed once."""
    return lax.optimization_barrier(list(chain(*_both(transform, square))))


def _square(flat: Products) -> list[Products]:
    return [flat[4 * row : 4 * (row + 1)] for row in range(4)]


def _both(transform: Transform, square: Sequence[Sequence[Array]]) -> list[list[Array]]:
    """The transform over rows, then over columns."""
    columns = [transform(column) for column in zip(*square, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]


def _interleaved(pixels: list[list[Array]]) -> Array:
    """2×2 pictures of every second pixel as one."""
    whole = jnp.stack([jnp.stack(row, 3) for row in pixels], 2)
    b, rows, _, columns, _, channels = whole.shape
    return whole.reshape(b, 2 * rows, 2 * columns, channels)


def _overlapping(tiles: list[list[Array]]) -> Array:
    """The sum of 4×4 tiles that are two pixels apart: each covers its own cell of 2×2 and the next ones."""

    def cell(i: int, j: int) -> Array:
        own_and_next = [(down, right) for down in (0, 1) for right in (0, 1)]
        around = [((0, 0), (down, 1 - down), (right, 1 - right), (0, 0)) for down, right in own_and_next]
        parts = [tiles[i + 2 * down][j + 2 * right] for down, right in own_and_next]
        return sum((jnp.pad(part, pads) for part, pads in zip(parts, around, strict=True)), jnp.zeros(()))

    return _interleaved([[cell(i, j) for j in range(2)] for i in range(2)])


# Bᵀ, Aᵀ and G of the source, and the transpose of each.


def _to_turned(d: Sequence[Array]) -> list[Array]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _from_turned(v: Sequence[Array]) -> list[Array]:
    return [v[0], v[1] - v[2] + v[3], v[1] + v[2] - v[0], -v[3]]


def _to_pixels(m: Sequence[Array]) -> list[Array]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _from_pixels(y: Sequence[Array]) -> list[Array]:
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]


def _to_matrices(g: Sequence[Array]) -> list[Array]:
    return [g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2]]


def _from_matrices(u: Sequence[Array]) -> list[Array]:
    return [u[0] + (u[1] + u[2]) / 2, (u[1] - u[2]) / 2, (u[1] + u[2]) / 2 + u[3]]
