"""A pinhole camera and a canvas that paints picture, label and distance with the same pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from rtseg_jax.data.dataset import Size

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

FAR = 200.0
"""Distance in metres at which streets end and the sky begins."""

NEAR = 0.8
"""Nothing nearer than this many metres is drawn; the camera sees no ground nearer than a metre."""

Colour = Sequence[float | int] | Float[np.ndarray, "3"]
"""Red, green and blue from 0 to 255."""


@dataclass(frozen=True)
class Camera:
    """Metres to pixels. The world is x to the right, y up from the ground, z forward; the street bends with z²."""

    size: Size
    focal: float  # pixels
    centre: tuple[float, float]  # vanishing point of the street: column, row
    height: float = 1.5  # metres above the ground
    bend: float = 0.0  # metres to the right per square metre forward
    roll: float = 0.0  # radians

    def project(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """(column, row) of world points; points behind `NEAR` are moved forward to it."""
        z = np.maximum(points[..., 2], NEAR)
        x = (points[..., 0] + self.bend * z * z) * self.focal / z
        y = (self.height - points[..., 1]) * self.focal / z
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return np.stack([self.centre[0] + cos * x - sin * y, self.centre[1] + sin * x + cos * y], axis=-1)

    def ground_distance(self) -> Float[np.ndarray, " h"]:
        """Distance of the ground seen in each row; `FAR` above the horizon."""
        below = np.maximum(np.arange(self.size[0]) - self.centre[1], 1e-3)
        return np.minimum(self.height * self.focal / below, FAR).astype(np.float32)


class _Shape(NamedTuple):
    """Polygons waiting to be painted: `parts` of them with equally many points each."""

    points: np.ndarray  # [parts * n 3], metres
    parts: int
    colour: Colour
    label: int | None = None
    standing: bool = False  # hides what is behind it: its distance is painted too
    width: float = 0.0  # metres; 0: filled
    shadow: float | None = None  # darken by this factor, in place of a colour


class Canvas:
    """Picture, label and distance in metres of one view, painted from far to near without anti-aliasing.

    Shapes wait in a list until `render`, which projects all their points at once; drawn one by one, a street takes four
    times as long.
    """

    def __init__(self, camera: Camera):
        self.camera = camera
        self.image = np.zeros((*camera.size, 3), np.uint8)
        self.label = np.full(camera.size, SKY, np.uint8)
        self.distance = np.repeat(camera.ground_distance()[:, None], camera.size[1], axis=1)
        self._waiting: list[_Shape] = []

    def face(self, points: Float[np.ndarray, "n 3"], colour: Colour, label: int | None = None) -> None:
        """A flat polygon. Without a label it is a detail: only the picture changes."""
        self._waiting.append(_Shape(points, 1, colour, label, standing=label is not None))

    def ground(self, points: Float[np.ndarray, "n 3"], colour: Colour, label: int | None = None) -> None:
        """A polygon that lies on the ground, whose distance the canvas knows already."""
        self._waiting.append(_Shape(points, 1, colour, label))

    def details(self, points: Float[np.ndarray, "m n 3"], colour: Colour) -> None:
        """Many polygons of one colour that do not overlap, the label untouched."""
        if len(points):
            self._waiting.append(_Shape(points.reshape(-1, 3), len(points), colour))

    def stroke(self, points: Float[np.ndarray, "n 3"], width: float, colour: Colour, label: int) -> None:
        """An open line of `width` metres, at least one pixel, through points of about one distance."""
        self._waiting.append(_Shape(points, 1, colour, label, standing=True, width=width))

    def shade(self, points: Float[np.ndarray, "n 3"], factor: float) -> None:
        """A shadow: what was painted before is darkened by `factor`."""
        self._waiting.append(_Shape(points, 1, (0, 0, 0), shadow=factor))

    def render(self) -> None:
        """Paint the waiting shapes in the order in which they came."""
        if not self._waiting:
            return
        points = np.concatenate([shape.points for shape in self._waiting])
        pixels = _rounded(self.camera.project(points))
        ends = np.cumsum([len(shape.points) for shape in self._waiting])
        starts = np.concatenate([[0], ends[:-1]])
        distances = np.maximum(np.add.reduceat(points[:, 2], starts) / (ends - starts), NEAR)
        seen = self._in_view(np.minimum.reduceat(pixels, starts), np.maximum.reduceat(pixels, starts))
        for index in np.flatnonzero(seen).tolist():
            self._paint(self._waiting[index], pixels[starts[index] : ends[index]], float(distances[index]))
        self._waiting = []

    def _in_view(self, low: Int[np.ndarray, "m 2"], high: Int[np.ndarray, "m 2"]) -> Bool[np.ndarray, " m"]:
        # Eight pixels of margin for the width of lines.
        height, width = self.camera.size
        return np.all((high >= -8) & (low <= np.array([width, height]) + 8), axis=1)

    def _paint(self, shape: _Shape, pixels: Int[np.ndarray, "n 2"], distance: float) -> None:
        if shape.shadow is not None:
            self._darken(pixels, shape.shadow)
            return
        outlines = [pixels] if shape.parts == 1 else list(pixels.reshape(shape.parts, -1, 2))
        thickness = _thickness(shape.width * self.camera.focal / distance) if shape.width else 0
        _fill(self.image, outlines, tuple(map(float, shape.colour)), thickness)
        if shape.label is not None:
            _fill(self.label, outlines, shape.label, thickness)
        if shape.standing:
            _fill(self.distance, outlines, distance, thickness)

    def _darken(self, pixels: Int[np.ndarray, "n 2"], factor: float) -> None:
        (left, top), (right, bottom) = np.maximum(pixels.min(0), 0).tolist(), np.maximum(pixels.max(0) + 1, 0).tolist()
        window = self.image[top:bottom, left:right]
        if window.size:
            mask = np.zeros(window.shape[:2], np.uint8)
            cv2.fillPoly(mask, [pixels], 1, offset=(-left, -top))
            window[mask == 1] = window[mask == 1] * factor


def _thickness(pixels: float) -> int:
    # OpenCV draws lines of thickness 2, 4, 6 … as 3, 5, 7 … pixels, and odd ones above 1 too wide by two.
    return max(1, 2 * round((pixels - 1) / 2))


def _fill(
    target: np.ndarray, outlines: list[np.ndarray], value: tuple[float, ...] | float | int, thickness: int
) -> None:
    if thickness:
        cv2.polylines(target, outlines, False, value, thickness)
    else:
        cv2.fillPoly(target, outlines, value)


def _rounded(pixels: np.ndarray) -> Int[np.ndarray, "*n 2"]:
    # OpenCV keeps 16 bits of a coordinate before the point; beyond that polygons wrap around.
    return np.rint(np.clip(pixels, -30000, 30000)).astype(np.int32)
