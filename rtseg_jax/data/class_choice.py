"""Some of a data set's classes, merged if wished; and single ids given another meaning.

`classes` holds names to keep, or NEW=NAME+NAME to merge several into one: ('road', 'vehicle=car+truck+bus'). What is
not named is ignored, or becomes one more class named "other".

`ids` changes the table of label files: '0=background,255=person' reads a mask of 0 and 255, '12=ignore' leaves an id
out, '#ff0000=car' gives a colour to a class.
"""

import difflib
from collections.abc import Sequence

from rtseg_jax.data.class_file import parse_colour, voc_colour
from rtseg_jax.data.dataset import DatasetInfo
from rtseg_jax.data.label_table import LabelTable
from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE

OTHER = "other"


def choose_classes(info: DatasetInfo, classes: Sequence[str], rest: str) -> DatasetInfo:
    """The data set with the classes that are asked for, in that order; all of them where none is named.

    Raises:
      UserError: an unknown class, one named twice, a word that `rest` does not know.
    """
    if rest not in ("ignore", OTHER):
        raise UserError(f"config.data.rest is {rest!r}; it is ignore or {OTHER}")
    if not classes:
        return info
    names: list[str] = []
    of_class: dict[int, int] = {}
    for wish in classes:
        name, _, parts = wish.partition("=")
        for part in parts.split("+") if parts else [name]:
            old = _index(info, part.strip())
            if old in of_class:
                raise UserError(f"config.data.classes uses {part.strip()!r} twice; every class can be in one only")
            of_class[old] = len(names)
        names.append(name.strip())
    palette = [info.palette[next(old for old, new in of_class.items() if new == index)] for index in range(len(names))]
    left = [index for index in range(info.num_classes) if index not in of_class]
    if rest == OTHER and left:
        of_class.update(dict.fromkeys(left, len(names)))
        names.append(OTHER)
        palette.append((0, 0, 0))
    if len(set(names)) != len(names):
        raise UserError(f"config.data.classes gives two classes one name: {', '.join(names)}")
    return DatasetInfo(info.name, tuple(names), tuple(palette), info.labels.changed(of_class), info.licence)


def change_ids(info: DatasetInfo, ids: str) -> DatasetInfo:
    """The data set with single ids or colours of its label files given to a class, or ignored.

    Raises:
      UserError: something else than ID=CLASS, or a class that does not exist.
    """
    if not ids:
        return info
    raw_ids, colours = dict(info.labels.ids), dict(info.labels.colours)
    for raw, name in parse_ids(ids):
        index = IGNORE if name == "ignore" else _index(info, name)
        if raw.startswith("#"):
            colours[parse_colour(raw, "config.data.ids")] = index
        else:
            raw_ids[int(raw)] = index
    return DatasetInfo(info.name, info.class_names, info.palette, LabelTable(raw_ids, colours), info.licence, info.rule)


def classes_of_ids(name: str, ids: str) -> DatasetInfo:
    """A data set of which only `ids` says what its labels mean; classes in the order in which it names them."""
    meant = parse_ids(ids)
    names = tuple(dict.fromkeys(of for _, of in meant if of != "ignore"))
    if not names:
        raise UserError("config.data.ids names no class; write ID=CLASS, as 0=background,255=person")
    empty = LabelTable({IGNORE: IGNORE})
    palette = tuple(voc_colour(index + 1) for index in range(len(names)))
    return change_ids(DatasetInfo(name, names, palette, empty), ids)


def parse_ids(ids: str) -> list[tuple[str, str]]:
    """(id or #colour, class name or ignore) of each entry."""
    result = []
    for entry in ids.split(","):
        raw, equals, name = (part.strip() for part in entry.partition("="))
        if not equals or not name or not (raw.startswith("#") or raw.isdecimal()):
            raise UserError(
                f"config.data.ids has {entry.strip()!r}; write ID=CLASS, ID=ignore or #RRGGBB=CLASS, with commas"
            )
        result.append((raw, name))
    return result


def _index(info: DatasetInfo, name: str) -> int:
    if name in info.class_names:
        return info.class_names.index(name)
    if name.isdecimal() and int(name) < info.num_classes:
        return int(name)
    nearest = difflib.get_close_matches(name, info.class_names, n=1, cutoff=0.0)[0]
    raise UserError(f"{info.name} has no class {name!r}; the nearest is {nearest!r}")
