"""Raw ids and colours of label files → classes, by lookup."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Integer, UInt8

from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE

UNKNOWN = 254
"""Stands in decoded arrays for an id or colour that the table does not have; so there are at most 254 classes."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelTable:
    """Class of each raw id and of each RGB colour that label files may hold; 255 for those to ignore.

    Ids may be any of 0 to 65535, with gaps. Several ids or colours may share a class.
    """

    ids: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)

    def __post_init__(self):
        for raw in self.ids:
            if not 0 <= raw <= 0xFFFF:
                raise UserError(f"the id {raw} of a label table is outside 0 to 65535; label files hold no others")
        for colour in self.colours:
            if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
                raise UserError(f"the colour {colour} of a label table is not three numbers from 0 to 255")
        if any(UNKNOWN <= index != IGNORE for index in (*self.ids.values(), *self.colours.values())):
            raise UserError(f"a label table has more than {UNKNOWN} classes; merge some of them with data.classes")

    @staticmethod
    def plain(num_classes: int) -> "LabelTable":
        """Ids that are the classes, and 255 to ignore."""
        return LabelTable({**{index: index for index in range(num_classes)}, IGNORE: IGNORE})

    def from_ids(self, ids: Integer[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
        """Class of each id; `UNKNOWN` where the table has none."""
        if ids.dtype in (np.uint8, np.uint16):
            return _id_lookup(tuple(self.ids.items()))[ids]
        inside = (ids >= 0) & (ids <= 0xFFFF)
        classes = _id_lookup(tuple(self.ids.items()))[np.where(inside, ids, 0)]
        return np.where(inside, classes, np.uint8(UNKNOWN))

    def from_colours(self, colours: UInt8[np.ndarray, "*shape 3"]) -> UInt8[np.ndarray, "*shape"]:
        """Class of each RGB colour; `UNKNOWN` where the table has none."""
        return _colour_lookup(tuple(self.colours.items()))[packed(colours)]

    def changed(self, of_class: Mapping[int, int]) -> "LabelTable":
        """The table with other classes: `of_class` gives the new one of each; those it leaves out are ignored."""

        def new(index: int) -> int:
            return of_class.get(index, IGNORE)

        return LabelTable(
            {raw: new(index) for raw, index in self.ids.items()},
            {colour: new(index) for colour, index in self.colours.items()},
        )

    def ids_of(self, index: int) -> tuple[int, ...]:
        """Raw ids of a class, or of 255."""
        return tuple(raw for raw, of in self.ids.items() if of == index)


def packed(colours: UInt8[np.ndarray, "*shape 3"]) -> Integer[np.ndarray, "*shape"]:
    """R·65536 + G·256 + B."""
    red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
    return (red << 16) | (green << 8) | blue


def unpacked(colour: int) -> Colour:
    """The colour of a packed number."""
    return colour >> 16, colour >> 8 & 255, colour & 255


# Kept here and not in the tables: 16 MB would otherwise travel with each pickled source.
@functools.lru_cache(maxsize=8)
def _id_lookup(items: tuple[tuple[int, int], ...]) -> UInt8[np.ndarray, "65536"]:
    return _lookup(items, 1 << 16)


@functools.lru_cache(maxsize=4)
def _colour_lookup(items: tuple[tuple[Colour, int], ...]) -> UInt8[np.ndarray, "16777216"]:
    return _lookup(((red << 16 | green << 8 | blue, index) for (red, green, blue), index in items), 1 << 24)


def _lookup(items: Iterable[tuple[int, int]], size: int) -> UInt8[np.ndarray, " size"]:
    table = np.full(size, UNKNOWN, np.uint8)
    for raw, index in items:
        table[raw] = index
    return table
