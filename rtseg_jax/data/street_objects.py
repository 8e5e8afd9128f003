"""What moves and stands in a street: cars, people, cyclists, trees, poles and signs. Metres; y is up, z is forward."""

import numpy as np
from jaxtyping import Float

from rtseg_jax.data.street_canvas import BICYCLIST, CAR, PEDESTRIAN, POLE, SIGN, TREE, Canvas, Colour

_GREYS = ((30, 30, 34), (70, 72, 76), (120, 122, 124), (185, 186, 188), (225, 225, 222))
_CAR_COLOURS = (*_GREYS, (140, 25, 25), (30, 50, 110), (60, 90, 70), (150, 130, 100), (200, 160, 40))
_SKIN = np.array([[90, 60, 45], [150, 105, 80], [205, 160, 135], [225, 185, 165]], np.float64)
_CIRCLES = {n: np.array([np.cos(t := 2 * np.pi * np.arange(n) / n), np.sin(t)]) for n in (10, 14, 22)}
_GLASS = np.array([42.0, 50.0, 58.0])


def jittered(colour: Colour, rng: np.random.Generator, spread: float | int = 12) -> Float[np.ndarray, "3"]:
    """A colour near `colour`, 0–255."""
    shifted = np.asarray(colour) * rng.uniform(0.8, 1.2) + spread * rng.standard_normal(3)
    return np.minimum(np.maximum(shifted, 0), 255)


def clothes(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """A colour of clothes: mostly dark and dull, now and then bright."""
    grey = rng.uniform(20, 150)
    return np.clip(grey + rng.normal(0, 55 if rng.random() < 0.3 else 15, 3), 0, 255)


def upright(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], z: float) -> Float[np.ndarray, "n 3"]:
    """Points of a plane that faces the camera at distance z."""
    points = np.empty((len(x), 3))  # np.stack takes three times as long, and a street has a thousand of these
    points[:, 0], points[:, 1], points[:, 2] = x, y, z
    return points


def along(x: float, y: Float[np.ndarray, " n"], z: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """Points of a plane that runs along the street at x."""
    points = np.empty((len(y), 3))
    points[:, 0], points[:, 1], points[:, 2] = x, y, z
    return points


def rectangle(x: float, y: float, z: float, width: float, height: float) -> Float[np.ndarray, "4 3"]:
    """A rectangle that faces the camera, centred on x, standing on y."""
    half = width / 2
    return upright(np.array([x - half, x + half, x + half, x - half]), np.array([y, y, y + height, y + height]), z)


def disc(x: float, y: float, z: float, radius_x: float, radius_y: float) -> Float[np.ndarray, "n 3"]:
    """An ellipse that faces the camera."""
    return upright(x + radius_x * _CIRCLES[14][0], y + radius_y * _CIRCLES[14][1], z)


def _ground_blob(x: float, z: float, radius_x: float, radius_z: float) -> Float[np.ndarray, "n 3"]:
    points = np.zeros((10, 3))
    points[:, 0], points[:, 2] = x + radius_x * _CIRCLES[10][0], z + radius_z * _CIRCLES[10][1]
    return points


def draw_car(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A car, van or bus centred on x whose near end is at z, pointing along the street."""
    kind = rng.choice(3, p=[0.76, 0.17, 0.07])
    width, length = (1.75, 2.0, 2.5)[kind], (4.3, 5.0, 10.0)[kind]
    belt, top = (0.85, 1.2, 1.3)[kind], (1.45, 2.2, 3.1)[kind] * rng.uniform(0.95, 1.08)
    paint = jittered(_CAR_COLOURS[rng.integers(len(_CAR_COLOURS))], rng, 6)
    canvas.shade(_ground_blob(x, z + length / 2, width * 0.6, length * 0.55), 0.45)
    side = x - np.sign(x) * width / 2  # the flank that faces the camera
    slope = (0.45, 0.1, 0.05)[kind]
    _car_flank(canvas, side, (z, z + length, belt, top), slope, paint)
    glass = _GLASS * rng.uniform(0.7, 1.8)
    lamp = np.array([190.0, 25, 25]) if rng.random() < 0.6 else np.array([240.0, 240, 220])
    _car_end(canvas, (x, z, width, belt, top), slope, (paint, glass, lamp))


def _car_flank(
    canvas: Canvas, x: float, box: tuple[float, float, float, float], slope: float, paint: np.ndarray
) -> None:
    near, far, belt, top = box
    length, shaded = far - near, paint * 0.78
    body_y, body_z = np.array([0.25, 0.25, belt, belt]), np.array([near, far, far, near])
    canvas.face(along(x, body_y, body_z), shaded, CAR)
    rear, front = near + 0.1 + slope, far - max(slope * 2.6, 0.1)
    cabin_z = np.array([near + 0.1, front + slope * 1.2, front - slope * 1.2, rear])
    canvas.face(along(x, np.array([belt, belt, top, top]), cabin_z), shaded, CAR)
    glass_z = np.array([rear, front, front - slope * 1.2, rear + 0.1])
    canvas.face(along(x, np.array([belt + 0.06, belt + 0.06, top - 0.1, top - 0.1]), glass_z), _GLASS)
    for centre in (near + 0.18 * length, near + 0.8 * length):
        wheel = along(x, 0.31 + 0.31 * _CIRCLES[10][1], centre + 0.33 * _CIRCLES[10][0])
        canvas.face(wheel, (22, 22, 24), CAR)


def _car_end(
    canvas: Canvas,
    box: tuple[float, float, float, float, float],
    slope: float,
    colours: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    (x, z, width, belt, top), (paint, glass, lamp) = box, colours
    for side in (-1, 1):
        canvas.face(rectangle(x + side * width * 0.38, 0.0, z, 0.22, 0.35), (20, 20, 22), CAR)
    half = width / 2 * np.array([-1, 1, 1, -1])
    narrowing = np.array([1, 1, 1 - slope * 0.5, 1 - slope * 0.5])
    cabin = upright(x + half * narrowing, np.array([belt, belt, top, top]), z)
    canvas.face(cabin + np.array([0, 0, 1]) * np.array([0, 0, slope, slope])[:, None], paint * 0.95, CAR)
    window = upright(x + half * 0.85 * narrowing, np.array([belt + 0.05, belt + 0.05, top - 0.09, top - 0.09]), z)
    canvas.face(window, glass)
    canvas.face(rectangle(x, 0.25, z, width, belt - 0.25), paint, CAR)
    canvas.face(rectangle(x, 0.25, z, width, 0.2), paint * 0.55)
    canvas.face(rectangle(x, 0.5, z, 0.5, 0.12), (200, 200, 180))
    for side in (-1, 1):
        canvas.face(rectangle(x + side * width * 0.41, belt - 0.28, z, 0.22, 0.18), lamp)


def draw_person(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A standing or walking person."""
    tall, stride = rng.uniform(1.5, 1.9), rng.uniform(0.02, 0.22)
    coat, trousers, skin = clothes(rng), clothes(rng) * 0.8, jittered(_SKIN[rng.integers(4)], rng, 6)
    canvas.shade(_ground_blob(x, z, 0.3, 0.25), 0.6)
    for side in (-1, 1):
        leg_x = x + np.array([side * stride - 0.07, side * stride + 0.07, side * 0.08 + 0.09, side * 0.08 - 0.09])
        canvas.face(upright(leg_x, tall * np.array([0, 0, 0.5, 0.5]), z), trousers, PEDESTRIAN)
        arm_x = x + side * np.array([0.16, 0.24, 0.3 + stride * 0.4, 0.22 + stride * 0.4])
        canvas.face(upright(arm_x, tall * np.array([0.8, 0.8, 0.47, 0.47]), z), coat * 0.85, PEDESTRIAN)
    _draw_upper_body(canvas, (x, z, 0.46 * tall, 0.82 * tall), (coat, skin), PEDESTRIAN)


def _draw_upper_body(
    canvas: Canvas, place: tuple[float, float, float, float], colours: tuple[Colour, Colour], label: int
) -> None:
    (x, z, hip, shoulder), (coat, skin) = place, colours
    body_x = x + np.array([-0.17, 0.17, 0.22, -0.22])
    canvas.face(upright(body_x, np.array([hip, hip, shoulder, shoulder]), z), coat, label)
    canvas.face(disc(x, shoulder + 0.14, z, 0.1, 0.14), skin, label)
    canvas.face(disc(x, shoulder + 0.2, z, 0.1, 0.09), np.asarray(skin) * 0.35)


def draw_cyclist(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A person on a bicycle, seen from behind or from the side."""
    frame, coat, skin = clothes(rng), clothes(rng), jittered(_SKIN[rng.integers(4)], rng, 6)
    canvas.shade(_ground_blob(x, z, 0.5, 0.3), 0.6)
    if rng.random() < 0.5:
        canvas.face(disc(x, 0.34, z, 0.05, 0.34), (25, 25, 25), BICYCLIST)
        canvas.stroke(upright(x + np.array([-0.3, 0.3]), np.array([1.0, 1.0]), z), 0.05, frame, BICYCLIST)
    else:
        _bicycle_side(canvas, x, z, frame)
    for side in (-1, 1):
        canvas.stroke(upright(x + side * np.array([0.1, 0.13]), np.array([0.95, 0.35]), z), 0.13, coat * 0.6, BICYCLIST)
    _draw_upper_body(canvas, (x, z, 0.9, 1.5), (coat, skin), BICYCLIST)


def _bicycle_side(canvas: Canvas, x: float, z: float, frame: Colour) -> None:
    for wheel in (-0.52, 0.52):
        rim = disc(x + wheel, 0.34, z, 0.33, 0.33)
        canvas.stroke(np.concatenate([rim, rim[:1]]), 0.06, (28, 28, 28), BICYCLIST)
    bars_x, bars_y = np.array([-0.52, -0.2, 0.4, 0.0, -0.2]), np.array([0.34, 0.85, 0.8, 0.3, 0.85])
    canvas.stroke(upright(x + bars_x, bars_y, z), 0.06, frame, BICYCLIST)
    canvas.stroke(upright(x + np.array([0.52, 0.4, 0.3]), np.array([0.34, 0.95, 1.0]), z), 0.06, frame, BICYCLIST)


def draw_tree(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A trunk under a ragged crown of overlapping clumps, lighter at the top."""
    tall, spread = rng.uniform(4, 9), rng.uniform(1.2, 2.6)
    bark = jittered((85, 72, 60), rng)
    leaf = jittered(((60, 85, 40), (85, 95, 50), (110, 95, 45), (45, 62, 40))[rng.integers(4)], rng)
    trunk = rng.uniform(0.12, 0.25)
    trunk_x = x + trunk * np.array([-1, 1, 0.6, -0.6])
    canvas.face(upright(trunk_x, np.array([0, 0, tall * 0.7, tall * 0.7]), z), bark, TREE)
    clumps, sides = (int(rng.integers(7, 13)), 22) if z < 30 else (4, 10)  # far ones are a few pixels
    lift, outlines = _crown(rng, (x, z), (tall, spread), (clumps, sides))
    colours = np.minimum(leaf * (0.9 + 0.25 * lift[:, None]), 255).tolist()
    for outline, colour in zip(outlines, colours, strict=True):
        canvas.face(outline, colour, TREE)


def _crown(
    rng: np.random.Generator, place: tuple[float, float], shape: tuple[float, float], counts: tuple[int, int]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "m n 3"]]:
    """How high each clump sits, −1 to 1, and its ragged outline."""
    (x, z), (tall, spread), (clumps, sides) = place, shape, counts
    lift, shift = rng.uniform(-1, 1, (2, clumps, 1))
    radius = spread * rng.uniform(0.35, 0.62, (clumps, 1)) * rng.uniform(0.72, 1.15, (clumps, sides))
    outline = np.full((clumps, sides, 3), z)
    outline[..., 0] = x + 0.7 * spread * shift + radius * _CIRCLES[sides][0]
    outline[..., 1] = 0.7 * tall + 0.8 * spread * lift + 0.9 * radius * _CIRCLES[sides][1]
    return lift[:, 0], outline


def draw_pole(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A lamp post, a bare post or a traffic light."""
    tall, grey = rng.uniform(4, 8), jittered((110, 112, 112), rng, 5) * rng.uniform(0.4, 1.3)
    inward = -np.sign(x) * rng.uniform(0.5, 1.8)
    kind = rng.integers(3)
    top = (tall, tall, 3.2)[kind]
    canvas.stroke(upright(np.array([x, x]), np.array([0, top]), z), rng.uniform(0.12, 0.22), grey, POLE)
    if kind == 0:
        canvas.stroke(upright(np.array([x, x + inward]), np.array([tall, tall + 0.2]), z), 0.1, grey, POLE)
    if kind == 2:
        canvas.face(rectangle(x, 2.3, z - 0.05, 0.34, 0.95), (24, 26, 24), SIGN)
        lit = rng.integers(3)
        lamp = ((40, 200, 120), (230, 170, 30), (220, 40, 30))[lit]
        canvas.face(disc(x, 2.48 + 0.3 * lit, z - 0.05, 0.11, 0.11), lamp)


def draw_sign(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A round, three-cornered or square traffic sign on a thin post."""
    y, radius = rng.uniform(2.2, 2.8), rng.uniform(0.3, 0.45)
    canvas.stroke(upright(np.array([x, x]), np.array([0, y]), z), 0.08, jittered((125, 125, 125), rng, 4), POLE)
    rim, plate = (((200, 30, 30), (235, 235, 230)), ((30, 70, 170), (60, 100, 190)), ((235, 195, 40),) * 2)[
        rng.integers(3)
    ]
    sides = int(rng.choice([3, 4, 14]))
    turn = {3: np.pi / 2, 4: np.pi / 4, 14: 0.0}[sides]
    angle = turn + np.linspace(0, 2 * np.pi, sides, endpoint=False)
    outline = radius * np.stack([np.cos(angle), np.sin(angle), np.zeros(sides)], axis=-1)
    centre = np.array([x, y, z - 0.05])
    canvas.face(centre + outline, rim, SIGN)
    canvas.face(centre + 0.7 * outline, plate)
    canvas.face(rectangle(x, y - 0.1, z - 0.05, radius * 0.7, 0.16), (30, 30, 30))
