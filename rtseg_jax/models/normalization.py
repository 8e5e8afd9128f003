"""What pictures go through before a network: the same in training, evaluation and exported graphs."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from rtseg_jax.models.rounding import FLOATS, Numbers

IMAGE_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, as everywhere in the field; in [0, 1]
IMAGE_STD = (0.229, 0.224, 0.225)


def normalize(images: UInt8[Array, "b h w 3"], numbers: Numbers = FLOATS) -> Float[Array, "b h w 3"]:
    """(image / 255 − mean) / std; rounded as in a file, whose pixels are 0..255 and whose division is a product."""
    mean, std = (jnp.asarray(values, jnp.float32)[None, None, None, :] for values in (IMAGE_MEAN, IMAGE_STD))
    if numbers == FLOATS:
        return (images.astype(jnp.float32) / 255.0 - mean) / std
    centred = numbers.held(numbers.held(images.astype(jnp.float32)) - numbers.held(255 * mean))
    return numbers.held(centred * numbers.held(1 / (255 * std)))
