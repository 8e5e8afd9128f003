"""CamVid-like pictures as a stranger would have them: JPEG, of mixed sizes, with labels of any kind."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((128, 64, 128), (64, 64, 0), (0, 0, 192))
SIZES = ((24, 32), (32, 24), (20, 20), (31, 17), (24, 40))


def label_of(number: int) -> np.ndarray:
    """Classes 0, 1 and 2 in three bands of a map of its own size."""
    height, width = SIZES[number % len(SIZES)]
    return np.repeat((np.arange(height) * 3 // height)[:, None], width, axis=1).astype(np.uint8)


def picture_of(number: int) -> np.ndarray:
    """One colour per picture, which survives JPEG."""
    return np.full((*label_of(number).shape, 3), 20 * number % 240 + 10, np.uint8)


def write_picture(path: Path, number: int) -> None:
    """A JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture_of(number)).save(path, quality=95)


def write_label(path: Path, classes: np.ndarray, kind: str) -> None:
    """A label PNG of one kind: palette, rgb, rgba, grey, grey16 or grey_rgb."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(COLOURS)] = COLOURS
    colours = colours[classes]
    if kind == "palette":
        image = Image.fromarray(classes).convert("P")
        image.putpalette([value for colour in COLOURS for value in colour])
    elif kind == "rgb":
        image = Image.fromarray(colours)
    elif kind == "rgba":
        image = Image.fromarray(np.dstack([colours, np.full(classes.shape, 200, np.uint8)]))
    elif kind == "grey_rgb":
        image = Image.fromarray(np.repeat(classes[..., None], 3, axis=2))
    else:
        image = Image.fromarray(classes.astype(np.uint16 if kind == "grey16" else np.uint8))
    image.save(path)
