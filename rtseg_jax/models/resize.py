"""Resizing, in a form to train and a form to export."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from rtseg_jax.models.convolution import Lowering


def resize(
    x: Float[Array, "b h w c"],
    size: tuple[int, int],
    *,
    method: Literal["bilinear", "nearest"] = "bilinear",
    align_corners: bool = False,
    lowering: Lowering,
    rows_divided: bool = False,
) -> Float[Array, "b h2 w2 c"]:
    """Resizes to `size`, without anti-aliasing.

    Args:
      x: pictures.
      size: height and width.
      method: bilinear, edges repeated; or nearest, the pixel ⌊position · old / new⌋, as PyTorch takes it.
      align_corners: whether corner pixels meet; otherwise pixels are areas, whose centres are at halves.
      lowering: `export` marks a bilinear one as one `RESIZE_BILINEAR` for the converter. The mark has no derivative,
        so it is for inference only.
      rows_divided: whether devices share the rows of a picture.
    """
    size = (int(size[0]), int(size[1]))
    if x.shape[1:3] == size:
        return x
    if lowering != "export":
        return _two_products(x, size, method, align_corners, rows_divided)
    if method == "nearest":
        return _repeated(x, size)

    def marked(x: Array, **_: object) -> Array:
        return _interpolate(x, size, align_corners)

    composite = lax.composite(marked, name="odml.upsample_bilinear2d", version=1)
    return composite(x, size=np.array(size, np.int64), is_nchw_op=False, align_corners=align_corners)


@jax.named_scope("resize_bilinear")
def _two_products(
    x: Array, size: tuple[int, int], method: str, align_corners: bool, rows_divided: bool = False
) -> Array:
    """Rows, then columns, each a matrix product on the layout at hand; `jax.image.resize` transposes in between."""
    b, h, w, c = x.shape
    pairs = zip((h, w), size, strict=True)
    rows, columns = (_shares(before, after, method, align_corners, x.dtype) for before, after in pairs)
    tall = jnp.einsum("Hh,bhn->bHn", rows, x.reshape(b, h, w * c))
    if rows_divided:  # pictures and rows stay two axes: devices share both, and cannot share the two made one
        return jnp.einsum("Ww,bHwc->bHWc", columns, tall.reshape(b, size[0], w, c))
    wide = jnp.einsum("Ww,nwc->nWc", columns, tall.reshape(b * size[0], w, c))  # faster on a CPU
    return wide.reshape(b, *size, c)


def _shares(before: int, after: int, method: str, align_corners: bool, dtype: Any) -> Array:
    """Share of every old pixel in every new one, along one axis."""
    if method == "nearest":
        return jnp.eye(before, dtype=dtype)[np.arange(after) * before // after]
    if align_corners:
        return _corner_shares(before, after, dtype)
    return jax.image.resize(jnp.eye(before), (after, before), "bilinear", antialias=False).astype(dtype)


def _corner_shares(before: int, after: int, dtype: Any) -> Array:
    """Old pixel `j` has max(0, 1 − |i·(before − 1)/(after − 1) − j|) of the new pixel `i`.

    In whole numbers, and traced: the converter knows the mark of an exported graph only where it takes the picture
    alone, and arrays that a marked function closes over are further arguments.
    """
    whole = max(1, after - 1)
    position = jnp.arange(after) * (before - 1)
    distance = jnp.abs(position[:, None] - whole * jnp.arange(before)[None])
    return (jnp.maximum(0, whole - distance) / whole).astype(dtype)


def _interpolate(x: Array, size: tuple[int, int], align_corners: bool) -> Array:
    if align_corners:
        return _two_products(x, size, "bilinear", align_corners=True)
    return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "bilinear", antialias=False)


def _repeated(x: Array, size: tuple[int, int]) -> Array:
    """Nearest neighbours by whole factors as concatenations in rank 4, which phones take; others as products."""
    b, h, w, c = x.shape
    tall, wide = size[0] // h, size[1] // w
    if (h * tall, w * wide) != size:
        return _two_products(x, size, "nearest", align_corners=False)
    columns = jnp.concatenate([x] * wide, axis=3).reshape(b, h, 1, w * wide * c)
    return jnp.concatenate([columns] * tall, axis=2).reshape(b, h * tall, w * wide, c)
