"""One street: the ground, the houses on both sides, and where everything else stands. Sizes are in metres."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from jaxtyping import Float

from rtseg_jax.data.dataset import Size
from rtseg_jax.data.street_canvas import BUILDING, FAR, FENCE, NEAR, PAVEMENT, ROAD, Camera, Canvas
from rtseg_jax.data.street_objects import (
    along,
    draw_car,
    draw_cyclist,
    draw_person,
    draw_pole,
    draw_sign,
    draw_tree,
    jittered,
    upright,
)
from rtseg_jax.labels import IGNORE

Prop = tuple[float, Callable[[], None]]
"""Distance of the far end of a thing, and how to draw it."""

Draw = Callable[[Canvas, np.random.Generator, float, float], None]
"""Draws one thing at (x, z)."""

_WALLS = (
    (150, 148, 144),
    (112, 112, 114),
    (138, 84, 66),
    (186, 170, 140),
    (168, 128, 100),
    (95, 88, 84),
    (205, 200, 190),
)
_GROUND_STEPS = np.array([NEAR, 4, 6, 9, 13, 18, 25, 35, 50, 80, 120, FAR])


def random_camera(size: Size, rng: np.random.Generator) -> Camera:
    """A camera in a car: low, looking forward, never quite level."""
    height, width = size
    centre = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.36, 0.52)
    focal = rng.uniform(0.75, 1.15) * np.sqrt(height * width)
    return Camera(size, focal, centre, rng.uniform(1.25, 1.8), rng.normal(0, 0.0012), rng.normal(0, 0.012))


def draw_street(size: Size, rng: np.random.Generator) -> Canvas:
    """A whole street in flat colours."""
    canvas = Canvas(random_camera(size, rng))
    left, right = -rng.uniform(3.5, 8.5), rng.uniform(2.0, 5.0)  # edges of the road
    pavement = rng.uniform(1.8, 4.5)
    side_street = _side_street(rng)
    _draw_sky(canvas, rng)
    _draw_ground(canvas, rng, (left, right), side_street)
    props: list[Prop] = []
    for edge, line in ((left, left - pavement), (right, right + pavement)):
        props += _houses(canvas, rng, line, side_street if np.sign(edge) == side_street[2] else None)
        props += _furniture(canvas, rng, edge, line)
        props += _parked(canvas, rng, edge)
    props += _traffic(canvas, rng, left, right)
    for _, draw in sorted(props, key=lambda prop: -prop[0]):
        draw()
    canvas.render()
    if rng.random() < 0.25:
        _draw_bonnet(canvas, rng)
    return canvas


def _side_street(rng: np.random.Generator) -> tuple[float, float, int]:
    """From where to where a street joins, and on which side (−1, 1; 0 for none)."""
    start = rng.uniform(9, 45)
    return start, start + rng.uniform(6, 12), int(rng.choice([-1, 0, 1]))


def _draw_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    rows = np.linspace(0, 1, canvas.camera.size[0])[:, None, None]
    top = np.array(((90, 135, 195), (150, 165, 185), (200, 204, 208))[rng.integers(3)]) * rng.uniform(0.85, 1.1)
    bottom = np.array((225, 228, 230)) * rng.uniform(0.8, 1.1)
    canvas.image[:] = np.clip(top + (bottom - top) * np.minimum(1, 2 * rows), 0, 255)


def strip(x_left: float, x_right: float, z: Float[np.ndarray, " n"]) -> Float[np.ndarray, "m 3"]:
    """The outline of a band on the ground along the street, with corners at each distance so that it can bend."""
    outline = np.zeros((2, len(z), 3))
    outline[0, :, 0], outline[1, :, 0] = x_left, x_right
    outline[0, :, 2], outline[1, :, 2] = z, z[::-1]
    return outline.reshape(-1, 3)


def _draw_ground(
    canvas: Canvas, rng: np.random.Generator, edges: tuple[float, float], side_street: tuple[float, float, int]
) -> None:
    left, right = edges
    asphalt = jittered((98, 98, 100), rng, 5) * rng.uniform(0.7, 1.25)
    paving = jittered(((125, 122, 118), (105, 103, 102), (140, 120, 105))[rng.integers(3)], rng, 6)
    far_left, far_right = -FAR, FAR
    canvas.ground(strip(far_left, far_right, np.array([NEAR, FAR])), paving, PAVEMENT)
    joints = np.arange(4.0, 30.0, rng.uniform(1.0, 2.5))
    canvas.details(np.stack([strip(-30.0, 30.0, np.array([z, z + 0.06])) for z in joints]), paving * 0.8)
    for edge in edges:  # kerbs
        canvas.ground(strip(edge - 0.2, edge + 0.2, _GROUND_STEPS), np.clip(paving * 1.25, 0, 255), PAVEMENT)
    canvas.ground(strip(left, right, _GROUND_STEPS), asphalt, ROAD)
    start, end, side = side_street
    if side:
        inner, outer = (right, 80.0) if side > 0 else (-80.0, left)
        canvas.ground(strip(inner - 0.3, outer + 0.3, np.array([start, end])), asphalt, ROAD)
    _draw_road_details(canvas, rng, edges, asphalt)


def _draw_road_details(
    canvas: Canvas, rng: np.random.Generator, edges: tuple[float, float], asphalt: np.ndarray
) -> None:
    left, right = edges
    for _ in range(rng.integers(1, 6)):  # repairs
        x, z = rng.uniform(left, right - 1), rng.uniform(3, 30)
        end = min(x + rng.uniform(0.5, 3), right)
        canvas.ground(strip(x, end, np.array([z, z + rng.uniform(1, 6)])), asphalt * rng.uniform(0.75, 1.15))
    paint = np.clip(np.full(3, rng.uniform(150, 235)), 0, 255)
    dash, gap, centre = rng.uniform(1.5, 4), rng.uniform(2, 6), (left + right) / 2
    starts = np.arange(rng.uniform(2, 6), 70, dash + gap)
    canvas.details(np.stack([strip(centre - 0.08, centre + 0.08, np.array([z, z + dash])) for z in starts]), paint)
    if rng.random() < 0.4:
        for edge in edges:
            inner = edge - np.sign(edge) * 0.4
            canvas.ground(strip(inner - 0.06, inner + 0.06, _GROUND_STEPS), paint)
    if rng.random() < 0.3:
        z = rng.uniform(7, 22)
        stripes = np.arange(left + 0.4, right - 0.6, 1.0)
        canvas.details(np.stack([strip(x, x + 0.5, np.array([z, z + 2.5])) for x in stripes]), paint)


def _houses(
    canvas: Canvas, rng: np.random.Generator, line: float, side_street: tuple[float, float, int] | None
) -> Iterator[Prop]:
    """Houses with gaps that show fences and trees, along x = line, from near to far."""
    shadow = rng.uniform(0.5, 0.75) if rng.random() < 0.35 else None
    z = rng.uniform(-6, 4)
    while z < FAR * 0.6:
        depth = rng.uniform(7, 20)
        if side_street and z < side_street[1] and z + depth > side_street[0]:
            z = side_street[1] + rng.uniform(0.5, 3)
            continue
        if rng.random() < 0.78:
            yield from _house(canvas, rng, line, (max(z, NEAR), z + depth), shadow)
        else:
            yield from _garden(canvas, rng, line, (max(z, NEAR), z + depth))
        z += depth + (rng.uniform(1, 6) if rng.random() < 0.25 else 0)


def _house(
    canvas: Canvas, rng: np.random.Generator, line: float, ends: tuple[float, float], shadow: float | None
) -> Iterator[Prop]:
    near, far = ends
    if far - near < 1:
        return
    setback = line + np.sign(line) * rng.uniform(0, 1.5)
    if shadow:
        canvas.shade(strip(setback, setback - np.sign(line) * rng.uniform(2, 7), np.array([near, far])), shadow)
    yield far, lambda: _draw_house(canvas, rng, setback, (near, far))


def _draw_house(canvas: Canvas, rng: np.random.Generator, x: float, ends: tuple[float, float]) -> None:
    near, far = ends
    tall, outward = rng.uniform(5, 16), np.sign(x) * rng.uniform(8, 14)
    wall = jittered(_WALLS[rng.integers(len(_WALLS))], rng, 7)
    y = np.array([0, 0, tall, tall])
    canvas.face(along(x, y, np.array([near, far, far, near])), wall * 0.9, BUILDING)
    canvas.face(upright(np.array([x, x + outward, x + outward, x]), y, near), wall * rng.uniform(0.55, 1.0), BUILDING)
    if rng.random() < 0.4:  # a gable: the roof leans away from the street
        ridge = np.array([[x, tall, near], [x + outward / 2, tall + 3, near], [x + outward / 2, tall + 3, far]])
        canvas.face(np.concatenate([ridge, [[x, tall, far]]]), jittered((110, 70, 58), rng), BUILDING)
        canvas.face(np.concatenate([ridge[:2], [[x + outward, tall, near]]]), wall * 0.7, BUILDING)
    _draw_windows(canvas, rng, x, (near, far, tall, outward), wall)


def _draw_windows(
    canvas: Canvas, rng: np.random.Generator, x: float, box: tuple[float, float, float, float], wall: np.ndarray
) -> None:
    near, far, tall, outward = box
    glass = jittered(((50, 58, 66), (90, 105, 118), (170, 178, 182))[rng.integers(3)], rng, 5)
    floor, column, shop = rng.uniform(2.7, 3.5), rng.uniform(1.6, 3.2), rng.random() < 0.45
    if shop:
        band = np.array([0.3, 0.3, 2.6, 2.6])
        canvas.face(along(x, band, np.array([near, far, far, near])), jittered((70, 66, 64), rng, 14))
    floors = np.arange(floor + 0.8 if shop else 0.9, tall - 1.6, floor)
    flank = _rows_of_rectangles(floors, np.arange(near + 0.6, far - 1.2, column), (1.5, 1.0))
    flank[..., 0] = x
    canvas.details(flank, glass)
    front = _rows_of_rectangles(floors, np.arange(1.0, abs(outward) - 1.2, column), (1.5, 1.0))
    front[..., 0], front[..., 2] = x + np.sign(x) * front[..., 2], near
    canvas.details(front, glass * 0.9)
    cornice = np.array([tall - 0.35, tall - 0.35, tall, tall])
    canvas.face(along(x, cornice, np.array([near, far, far, near])), np.clip(wall * rng.uniform(0.6, 1.25), 0, 255))


def _rows_of_rectangles(up: np.ndarray, along_z: np.ndarray, size: tuple[float, float]) -> Float[np.ndarray, "m 4 3"]:
    """Rectangles of (height, length) at every height and every z, at x = 0."""
    corners = np.zeros((len(up), len(along_z), 4, 3))
    corners[..., 1] = up[:, None, None] + size[0] * np.array([0, 0, 1, 1])
    corners[..., 2] = along_z[None, :, None] + size[1] * np.array([0, 1, 1, 0])
    return corners.reshape(-1, 4, 3)


def _garden(canvas: Canvas, rng: np.random.Generator, line: float, ends: tuple[float, float]) -> Iterator[Prop]:
    """A fence or wall with trees behind it."""
    near, far = ends
    if far - near < 1:
        return
    tall = rng.uniform(1.0, 2.2)
    for z in np.arange(near + 1, far, 4.0):
        x = line + np.sign(line) * rng.uniform(3.0, 5.0)
        yield far + 0.2, _prop(canvas, rng, draw_tree, x, z)[1]
    yield far + 0.1, lambda: _draw_fence(canvas, rng, line, ends, tall)


def _draw_fence(canvas: Canvas, rng: np.random.Generator, x: float, ends: tuple[float, float], tall: float) -> None:
    near, far = ends
    colour = jittered(((120, 100, 80), (95, 95, 92), (60, 66, 60), (150, 146, 140))[rng.integers(4)], rng)
    z = np.array([near, far, far, near])
    canvas.face(along(x, np.array([0, 0, tall, tall]), z), colour, FENCE)
    hedge = np.array([x, 0.0, near]), np.array([x + np.sign(x) * 20, tall, near])
    canvas.face(_upright_between(*hedge), colour * 0.8, FENCE)
    bars = _rows_of_rectangles(np.zeros(1), np.arange(near, far, rng.uniform(0.3, 0.8)), (tall, 0.1))
    bars[..., 0] = x
    canvas.details(bars, colour * rng.uniform(0.55, 0.85))


def _upright_between(low: np.ndarray, high: np.ndarray) -> Float[np.ndarray, "4 3"]:
    x = np.array([low[0], high[0], high[0], low[0]])
    return upright(x, np.array([low[1], low[1], high[1], high[1]]), float(low[2]))


def _prop(canvas: Canvas, rng: np.random.Generator, draw: Draw, x: float, z: float) -> Prop:
    return z, lambda: draw(canvas, rng, x, z)


def _furniture(canvas: Canvas, rng: np.random.Generator, edge: float, line: float) -> Iterator[Prop]:
    """Trees, poles, signs and people on one pavement."""
    kerb, wall = edge + np.sign(edge) * 0.5, line - np.sign(line) * 0.4
    if rng.random() < 0.6:
        for z in np.arange(rng.uniform(4, 14), 65, rng.uniform(7, 16)):
            yield _prop(canvas, rng, draw_tree, kerb, z)
    for draw, most, furthest in ((draw_pole, 5, 60), (draw_sign, 4, 35)):
        for _ in range(rng.integers(0, most)):
            yield _prop(canvas, rng, draw, kerb, rng.uniform(4, furthest))
    for _ in range(rng.integers(0, 6)):
        yield _prop(canvas, rng, draw_person, rng.uniform(*sorted((kerb, wall))), 4 + 36 * rng.random() ** 1.5)


def _parked(canvas: Canvas, rng: np.random.Generator, edge: float) -> Iterator[Prop]:
    if rng.random() < 0.35:
        return
    x = edge - np.sign(edge) * 1.0
    for z in np.arange(rng.uniform(3, 16), 60, rng.uniform(5.5, 9)):
        if rng.random() < 0.6:
            yield _prop(canvas, rng, draw_car, x, z)


def _traffic(canvas: Canvas, rng: np.random.Generator, left: float, right: float) -> Iterator[Prop]:
    for _ in range(rng.integers(0, 4)):
        lane = rng.choice([left * 0.45, right * 0.3])
        yield _prop(canvas, rng, draw_car, lane + rng.normal(0, 0.3), rng.uniform(7, 60))
    for _ in range(rng.integers(0, 3)):
        yield _prop(canvas, rng, draw_cyclist, rng.uniform(left + 0.6, right - 0.6), rng.uniform(4.5, 25))
    if rng.random() < 0.3:
        yield _prop(canvas, rng, draw_person, rng.uniform(left, right), rng.uniform(6, 25))


def _draw_bonnet(canvas: Canvas, rng: np.random.Generator) -> None:
    """The own car's bonnet at the lower edge, which no data set scores."""
    height, width = canvas.camera.size
    rise, centre = rng.uniform(0.05, 0.12) * height, (width // 2, height)
    axes, colour = (int(0.55 * width), round(rise)), jittered((60, 62, 66), rng, 8)
    cv2.ellipse(canvas.image, centre, axes, 0, 0, 360, tuple(map(float, colour)), -1)
    cv2.ellipse(canvas.label, centre, axes, 0, 0, 360, IGNORE, -1)
    cv2.ellipse(canvas.distance, centre, axes, 0, 0, 360, NEAR, -1)
