"""The data sets this package knows: class names in id order, and colours to paint them."""

from rtseg_jax.data.dataset import DatasetInfo

_STREET_CLASSES = (
    ("Sky", (128, 128, 128)),
    ("Building", (128, 0, 0)),
    ("Pole", (192, 192, 128)),
    ("Road", (128, 64, 128)),
    ("Pavement", (60, 40, 222)),
    ("Tree", (128, 128, 0)),
    ("SignSymbol", (192, 128, 128)),
    ("Fence", (64, 64, 128)),
    ("Car", (64, 0, 128)),
    ("Pedestrian", (64, 64, 0)),
    ("Bicyclist", (0, 128, 192)),
)

_CITYSCAPES_CLASSES = (
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)

_VOC_NAMES = (
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse, "
    "motorbike, person, potted plant, sheep, sofa, train, tv monitor"
)

_ADE20K_NAMES = (
    "wall, building, sky, floor, tree, ceiling, road, bed, window, grass, cabinet, sidewalk, person, earth, door, "
    "table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, "
    "armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, "
    "chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, "
    "case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, "
    "book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, "
    "hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, "
    "dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, "
    "fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, "
    "minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, "
    "screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, "
    "monitor, bulletin board, shower, radiator, glass, clock, flag"
)


def voc_colour(index: int) -> tuple[int, int, int]:
    """RGB colour number `index` of the VOC colour map: bits 3i, 3i+1, 3i+2 of the index become bit 7−i of R, G, B."""
    red, green, blue = (sum((index >> (3 * i + c) & 1) << (7 - i) for i in range(8)) for c in range(3))
    return red, green, blue


def _coloured(name: str, classes: tuple[tuple[str, tuple[int, int, int]], ...]) -> DatasetInfo:
    names, palette = zip(*classes, strict=True)
    return DatasetInfo(name, names, palette)


def _colour_mapped(name: str, names: str, first_colour: int) -> DatasetInfo:
    split = tuple(names.split(", "))
    return DatasetInfo(name, split, tuple(voc_colour(first_colour + i) for i in range(len(split))))


SYNTHETIC_STREETS = _coloured("synthetic_streets", _STREET_CLASSES)
CAMVID = _coloured("camvid", _STREET_CLASSES)
CITYSCAPES = _coloured("cityscapes", _CITYSCAPES_CLASSES)
VOC2012 = _colour_mapped("voc2012", _VOC_NAMES, 0)
ADE20K = _colour_mapped("ade20k", _ADE20K_NAMES, 1)  # from 1: no class of ADE20K is a background to leave black

KNOWN = {info.name: info for info in (SYNTHETIC_STREETS, CAMVID, CITYSCAPES, VOC2012, ADE20K)}
