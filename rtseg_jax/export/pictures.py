"""Pictures of 0..255 as a file normalizes them itself, in the forms that CPUs are quick at.

A difference from three means, one for each colour, and a product with three factors are calls of three numbers each for
XNNPACK: 1.7 ms of 352×480 pixels, as much as a stage of a network takes (docs/deployment.md).
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rtseg_jax.models.convolution import conv2d

Normalization = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation per colour, of pictures in 0..1."""

Normalize = Callable[[Float[Array, "b h w 3"], Normalization], Float[Array, "b h w 3"]]
"""(pictures of 0..255, normalization) → normalized pictures."""


def by_convolution(images: Float[Array, "b h w 3"], normalization: Normalization) -> Float[Array, "b h w 3"]:
    """One convolution of 1×1: a fifth of the time of a difference and a product."""
    mean, factor = _mean_and_factor(normalization)
    kernel, bias = np.diag(factor)[None, None], (-mean * factor)[None, None, None]
    return conv2d(images, jnp.asarray(kernel), lowering="export") + jnp.asarray(bias)


def by_rows(images: Float[Array, "b h w 3"], normalization: Normalization) -> Float[Array, "b h w 3"]:
    """A difference and a product of whole rows: an eighth of the time, in integers faster than a convolution."""
    batch, height, width, colours = images.shape
    mean, factor = (jnp.asarray(np.tile(x, width))[None, None] for x in _mean_and_factor(normalization))
    rows = images.reshape(batch, height, width * colours)
    return ((rows - mean) * factor).reshape(images.shape)


def _mean_and_factor(normalization: Normalization) -> tuple[np.ndarray, np.ndarray]:
    """Of pictures of 0..255; constants, or files would compute them anew for every picture."""
    mean, std = (np.asarray(values, np.float32) * 255 for values in normalization)
    return mean, 1 / std
