"""Colours of label maps. A palette is one (red, green, blue) per class and belongs to the data set."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, UInt8

from rtseg_jax.labels import IGNORE

VOID_COLOR = (0, 0, 0)

Color = tuple[int, int, int]
Palette = Sequence[Color]


def colorize(labels: Integer[np.ndarray, "h w"], palette: Palette) -> UInt8[np.ndarray, "h w 3"]:
    """A label map as a picture; void (255) is black."""
    unknown = (labels != IGNORE) & ((labels < 0) | (labels >= len(palette)))
    if unknown.any():
        raise ValueError(f"label {labels[unknown][0]} has no colour: the palette has {len(palette)} classes")
    table = np.zeros((IGNORE + 1, 3), np.uint8)
    table[: len(palette)] = palette
    table[IGNORE] = VOID_COLOR
    return table[labels]
