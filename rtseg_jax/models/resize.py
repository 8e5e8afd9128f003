"""Bilinear resizing with half-pixel centres, in a form to train and a form to export."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from rtseg_jax.models.convolution import Lowering


def resize_bilinear(
    x: Float[Array, "b h w c"], size: tuple[int, int], *, lowering: Lowering
) -> Float[Array, "b h2 w2 c"]:
    """Resize to `size`: half-pixel centres, edges repeated, no anti-aliasing.

    The `export` lowering marks the same computation as one `RESIZE_BILINEAR` for the converter. The mark has no
    derivative, so it is for inference only.
    """
    size = (int(size[0]), int(size[1]))
    if x.shape[1:3] == size:
        return x
    if lowering != "export":
        return _two_products(x, size)

    def marked(x: Array, **_: object) -> Array:
        return _interpolate(x, size)

    composite = lax.composite(marked, name="odml.upsample_bilinear2d", version=1)
    return composite(x, size=np.array(size, np.int64), is_nchw_op=False, align_corners=False)


@jax.named_scope("resize_bilinear")
def _two_products(x: Array, size: tuple[int, int]) -> Array:
    """Rows, then columns, each a matrix product on the layout at hand; `jax.image.resize` transposes in between."""
    b, h, w, c = x.shape
    rows, columns = (_weights(before, after, x.dtype) for before, after in zip((h, w), size, strict=True))
    tall = jnp.einsum("Hh,bhn->bHn", rows, x.reshape(b, h, w * c))
    wide = jnp.einsum("Ww,nwc->nWc", columns, tall.reshape(b * size[0], w, c))
    return wide.reshape(b, *size, c)


def _weights(before: int, after: int, dtype: Any) -> Array:
    """Share of every old pixel in every new one, along one axis."""
    return jax.image.resize(jnp.eye(before), (after, before), "bilinear", antialias=False).astype(dtype)


def _interpolate(x: Array, size: tuple[int, int]) -> Array:
    return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "bilinear", antialias=False)
