"""From flat colours to a photograph: surface texture, mist, light, lens and sensor. Labels are left alone."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from rtseg_jax.data.dataset import Size
from rtseg_jax.data.street_canvas import BUILDING, FENCE, PAVEMENT, ROAD, SKY, TREE, Canvas
from rtseg_jax.labels import IGNORE


def photograph(canvas: Canvas, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """What a camera makes of a flat-coloured street."""
    picture = canvas.image.astype(np.float32)
    picture *= _texture(canvas.label, rng)[..., None]
    _add_mist(picture, canvas.distance, rng)
    picture *= _light(canvas.camera.size, rng)
    if rng.random() < 0.5:
        sigma = rng.uniform(0.3, 1.1) * canvas.camera.size[0] / 200
        cv2.GaussianBlur(picture, (0, 0), max(sigma, 0.2), dst=picture)
    picture += rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(1.5, 9))
    return np.clip(picture, 0, 255).astype(np.uint8)


def _texture(label: UInt8[np.ndarray, "h w"], rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Brightness of surfaces around 1: fine grain and coarse patches, as strong as the class wants."""
    fine, coarse = np.full(256, 0.04, np.float32), np.full(256, 0.05, np.float32)
    fine[[SKY, ROAD, PAVEMENT, BUILDING, TREE, FENCE]] = 0.0, 0.07, 0.07, 0.07, 0.22, 0.1
    coarse[[SKY, ROAD, PAVEMENT, BUILDING, TREE, IGNORE]] = 0.05, 0.07, 0.08, 0.1, 0.2, 0.05
    fine *= np.float32(rng.uniform(0.4, 1.6))
    return 1 + fine[label] * _noise(label.shape, (1, 1), rng) + coarse[label] * _noise(label.shape, (5, 16), rng)


def _noise(size: Size, cell: Size, rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Normal noise, smooth over cells of (height, width) pixels."""
    cells = (-(-size[0] // cell[0]), -(-size[1] // cell[1]))
    noise = rng.standard_normal(cells, np.float32)
    return noise if cells == size else cv2.resize(noise, size[::-1], interpolation=cv2.INTER_LINEAR)


def _add_mist(
    picture: Float[np.ndarray, "h w 3"], distance: Float[np.ndarray, "h w"], rng: np.random.Generator
) -> None:
    """Far things fade, in place: a little always, a lot in one picture of four."""
    reach = rng.uniform(30, 90) if rng.random() < 0.25 else rng.uniform(150, 600)
    clear = np.exp(distance * np.float32(-1 / reach))[..., None]
    colour = np.float32(rng.uniform(170, 225)) + rng.normal(0, 6, 3).astype(np.float32)
    picture -= colour
    picture *= clear
    picture += colour


def _light(size: Size, rng: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Exposure, colour cast, a slope of brightness across the picture and darker corners."""
    rows = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, size[1], dtype=np.float32)[None]
    slope = rng.normal(0, 0.1, 2).astype(np.float32)
    corners = np.float32(rng.uniform(0, 0.18))
    field = 1 + slope[0] * rows + slope[1] * columns - corners * (rows * rows + columns * columns)
    cast = rng.uniform(0.5, 1.25) * (1 + rng.normal(0, 0.07, 3))
    return field[..., None] * cast.astype(np.float32)
