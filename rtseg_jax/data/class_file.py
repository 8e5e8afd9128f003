"""Class tables as small JSON files: the form of the shipped ones, of a user's own, and of what a run records.

    {
      "classes": ["road", "person"],                                  names, in the order of the network's outputs
      "ids":     {"road": 7, "person": [24, 25]},                     numbers in label files; left out: 0, 1, 2, …
      "colours": {"road": [128, 64, 128], "person": "#dc143c"},       colours in label files; left out: none
      "ignore":  [0, 255, [0, 0, 0]],                                 numbers and colours not learned; left out: 255
      "palette": [[128, 64, 128], [220, 20, 60]]                      to paint with; left out: `colours`, or VOC's map
    }

Only `classes` is needed. Lists in the order of the classes may stand in the place of the two dictionaries.
"""

import contextlib
import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rtseg_jax.data.dataset import DatasetInfo
from rtseg_jax.data.label_table import Colour, LabelTable
from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE

KEYS = ("classes", "ids", "colours", "ignore", "palette")
SHIPPED = Path(__file__).with_name("classes")


def shipped_info(name: str, *, classes: str | None = None, licence: str = "", rule: str = "plain") -> DatasetInfo:
    """A known data set, from the table named `classes`, or else `name`, in the folder of shipped ones."""
    path = SHIPPED / f"{classes or name}.json"
    info = parse_classes(name, json.loads(path.read_text(encoding="utf-8")), str(path))
    return dataclasses.replace(info, licence=licence, rule=rule)


def read_classes(name: str, text: bytes, file: str) -> DatasetInfo:
    """The classes in a user's JSON; `file` is named in errors.

    Raises:
      UserError: it is no JSON, has no list of names, or something in it contradicts itself.
    """
    try:
        value = json.loads(text.decode("utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({' '.join(str(error).split())}); correct it") from error
    return parse_classes(name, value, file)


def to_json(info: DatasetInfo) -> dict[str, Any]:
    """The classes in the form of a class file, from which `parse_classes` makes equal ones."""
    table = info.labels
    of_class = range(info.num_classes)
    colours = {colour: index for colour, index in table.colours.items() if index != IGNORE}
    ignored = [raw for raw, index in table.ids.items() if index == IGNORE]
    return {
        "classes": list(info.class_names),
        "palette": [list(colour) for colour in info.palette],
        "ids": [list(table.ids_of(index)) for index in of_class],
        "colours": [[list(colour) for colour, of in colours.items() if of == index] for index in of_class],
        "ignore": ignored + [list(colour) for colour, index in table.colours.items() if index == IGNORE],
    }


def parse_classes(name: str, value: Any, file: str) -> DatasetInfo:
    """The classes in a parsed JSON."""
    if not isinstance(value, dict):
        raise UserError(f'{file} holds a {type(value).__name__}; write {{"classes": ["first name", "second name"]}}')
    for key in value:
        if key not in KEYS:
            nearest = difflib.get_close_matches(str(key), KEYS, n=1, cutoff=0.0)[0]
            raise UserError(f"{file} has an entry {key!r}; the nearest that means something is {nearest!r}")
    names = value.get("classes")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise UserError(f'{file} names no classes; write "classes": ["first name", "second name"]')
    if (twice := _repeated(names)) is not None:
        raise UserError(f"{file} names the class {twice!r} twice; keep one, and give it both ids or colours")
    ids = _by_class(value.get("ids", list(range(len(names)))), names, f"{file}: ids", _ids)
    colours = _by_class(value.get("colours", {}), names, f"{file}: colours", _colours)
    ignore = value.get("ignore", [IGNORE])
    if not isinstance(ignore, list):
        raise UserError(f"{file}: ignore is {ignore!r}; write a list of ids and colours, as [0, 255]")
    for entry in ignore:
        if isinstance(entry, int):
            if not (entry == IGNORE and "ignore" not in value and entry in ids):
                _put(ids, entry, IGNORE, names, f"{file}: ignore")
        else:
            _put(colours, parse_colour(entry, f"{file}: ignore"), IGNORE, names, f"{file}: ignore")
    return DatasetInfo(name, tuple(names), _palette(value, names, colours, file), LabelTable(ids, colours))


def parse_colour(value: Any, file: str) -> Colour:
    """A colour from [R, G, B] or "#RRGGBB"."""
    if isinstance(value, str) and value.startswith("#") and len(value) == 7:
        with contextlib.suppress(ValueError):
            value = list(bytes.fromhex(value[1:]))
    if isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value):
        return (value[0], value[1], value[2])
    raise UserError(f'{file}: {value!r} is no colour; write [R, G, B] with numbers from 0 to 255, or "#RRGGBB"')


def voc_colour(index: int) -> Colour:
    """RGB colour number `index` of the VOC colour map: bits 3i, 3i+1, 3i+2 of the index become bit 7−i of R, G, B."""
    red, green, blue = (sum((index >> (3 * i + c) & 1) << (7 - i) for i in range(8)) for c in range(3))
    return red, green, blue


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for number, name in enumerate(names) if name in names[:number]), None)


def _by_class(value: Any, names: list[str], file: str, parse: Any) -> dict[Any, int]:
    if isinstance(value, Mapping):
        for name in value:
            if name not in names:
                nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
                raise UserError(f"{file}: there is no class {name!r}; the nearest is {nearest!r}")
        pairs = [(names.index(name), entry) for name, entry in value.items()]
    elif isinstance(value, list) and len(value) == len(names):
        pairs = list(enumerate(value))
    else:
        raise UserError(f"{file} has not one entry for each of the {len(names)} classes; give a list of as many")
    result: dict[Any, int] = {}
    for index, entry in pairs:
        for key in parse(entry, file):
            _put(result, key, index, names, file)
    return result


def _put(table: dict[Any, int], key: Any, index: int, names: list[str], file: str) -> None:
    if (taken := table.get(key, index)) != index:
        whose = "to be ignored" if taken == IGNORE else f"given to {names[taken]!r}"
        raise UserError(f"{file}: {key} is {whose} already; give every id and colour one meaning")
    table[key] = index


def _ids(entry: Any, file: str) -> list[int]:
    values = entry if isinstance(entry, list) else [entry]
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise UserError(f"{file}: {entry!r} is no id; write a whole number or a list of some")
    return values


def _colours(entry: Any, file: str) -> list[Colour]:
    several = isinstance(entry, list) and not (entry and isinstance(entry[0], int))
    return [parse_colour(colour, file) for colour in (entry if several else [entry])]


def _palette(value: dict[str, Any], names: list[str], colours: dict[Colour, int], file: str) -> tuple[Colour, ...]:
    given = value.get("palette")
    if given is None:
        first = {index: colour for colour, index in reversed(colours.items())}
        return tuple(first.get(index, voc_colour(index + 1)) for index in range(len(names)))
    if not isinstance(given, list) or len(given) != len(names):
        raise UserError(f"{file}: palette has not one colour for each of the {len(names)} classes; give as many")
    return tuple(parse_colour(colour, f"{file}: palette") for colour in given)
