"""What pictures go through before a network: the same in training, evaluation and exported graphs."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

IMAGE_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, as everywhere in the field; in [0, 1]
IMAGE_STD = (0.229, 0.224, 0.225)


def normalize(images: UInt8[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """(image / 255 − mean) / std."""
    mean, std = (jnp.asarray(values, jnp.float32)[None, None, None, :] for values in (IMAGE_MEAN, IMAGE_STD))
    return (images.astype(jnp.float32) / 255.0 - mean) / std
