"""The draws of `rtseg_jax.data.augmentation` applied by JAX, inside a jitted step."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32, UInt8

from rtseg_jax.data.augmentation import LUMA, PAD_COLOUR, Augmentation
from rtseg_jax.data.dataset import Size
from rtseg_jax.labels import IGNORE


def augment_batch(batch: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """A batch as `training_batches` gives it for the device, augmented to (height, width).

    Labels and scaled pixels are those of `augmentation.apply` bit for bit; after a change of colour, which is computed
    in float32, pixels are within one grey level.
    """
    augment = jax.vmap(functools.partial(_augment, size=size))
    images, labels = augment(batch["image"], batch["label"], batch["augmentation"])
    return {"image": images, "label": labels}


def _augment(
    image: UInt8[Array, "old_h old_w 3"],
    label: UInt8[Array, "old_h old_w"],
    drawn: Float32[Array, "8"],
    size: Size,
) -> tuple[UInt8[Array, "h w 3"], UInt8[Array, "h w"]]:
    chosen = Augmentation(*drawn)
    height, width, top, left = (value.astype(jnp.int32) for value in chosen[:4])
    columns = jnp.arange(size[1])
    columns = jnp.where(chosen.flip > 0, columns[::-1], columns) + left
    rows = jnp.arange(size[0]) + top
    inside = _inside(rows, height)[:, None] & _inside(columns, width)[None, :]
    image = _scaled(image, (rows, columns), (height, width))
    image = jnp.where(inside[..., None], image, jnp.array(PAD_COLOUR, jnp.uint8)[None, None, :])
    nearest_row, nearest_column = (
        _nearest(*axis) for axis in zip((rows, columns), label.shape, (height, width), strict=True)
    )
    label = jnp.where(inside, label[nearest_row][:, nearest_column], IGNORE)
    return _colour(image, chosen.brightness, chosen.contrast, chosen.saturation), label.astype(jnp.uint8)


def _inside(places: Int32[Array, " n"], side: Int32[Array, ""]) -> Bool[Array, " n"]:
    return (places >= 0) & (places < side)


def _nearest(places: Int32[Array, " n"], old: int, new: Int32[Array, ""]) -> Int32[Array, " n"]:
    """As `augmentation.nearest`, of some places only."""
    return jnp.clip((2 * places + 1) * old // (2 * new), 0, old - 1)


def _scaled(
    image: UInt8[Array, "old_h old_w 3"],
    places: tuple[Int32[Array, " h"], Int32[Array, " w"]],
    size: tuple[Int32[Array, ""], Int32[Array, ""]],
) -> UInt8[Array, "h w 3"]:
    """The pixels at some rows and columns of the image resized to (height, width)."""
    (above, below, down), (before, after, right) = (
        _neighbours(*axis) for axis in zip(places, image.shape[:2], size, strict=True)
    )
    wide = image.astype(jnp.uint16)  # holds 255 · 256
    down, right = down.astype(jnp.uint16)[:, None, None], right[None, :, None]
    rows = wide[above] * (256 - down) + wide[below] * down
    rows = rows.astype(jnp.int32)
    pixels = rows[:, before] * (256 - right) + rows[:, after] * right
    return ((pixels + (1 << 15)) >> 16).astype(jnp.uint8)


def _neighbours(
    places: Int32[Array, " n"], old: int, new: Int32[Array, ""]
) -> tuple[Int32[Array, " n"], Int32[Array, " n"], Int32[Array, " n"]]:
    """Both pixels of `old` between whose centres a place lies, and the weight of the second in 1/256.

    (i + ½)·old / new − ½ in whole numbers, rounded to even as OpenCV's INTER_LINEAR_EXACT does.
    """
    centre, unit = (2 * places + 1) * old - new, 2 * new
    first = centre // unit
    weight, rest = jnp.divmod(256 * (centre - first * unit) + new, unit)
    weight -= (rest == 0) & (weight % 2 == 1)
    return jnp.clip(first, 0, old - 1), jnp.clip(first + 1, 0, old - 1), weight


def _colour(
    image: UInt8[Array, "h w 3"], brightness: Float[Array, ""], contrast: Float[Array, ""], saturation: Float[Array, ""]
) -> UInt8[Array, "h w 3"]:
    """As `augmentation.colour`."""
    red, green, blue = LUMA
    pixels = image.astype(jnp.float32)
    luma = red * pixels[..., :1] + green * pixels[..., 1:2] + blue * pixels[..., 2:]
    # Summed as whole numbers: a float32 sum over a million pixels loses digits on some devices.
    mean_red, mean_green, mean_blue = image.sum(axis=(0, 1), dtype=jnp.int32) / (image.shape[0] * image.shape[1])
    mean_luma = red * mean_red + green * mean_green + blue * mean_blue
    mixed = contrast * (saturation * pixels + (1 - saturation) * luma) + (1 - contrast) * mean_luma
    return jnp.clip(jnp.round(brightness * mixed), 0, 255).astype(jnp.uint8)
