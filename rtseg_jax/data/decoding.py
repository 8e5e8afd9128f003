"""Bytes of picture and label files → arrays, or one line that says what is wrong with the file."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageOps

from rtseg_jax.data.findings import BadFile
from rtseg_jax.data.label_table import UNKNOWN, LabelTable, packed, unpacked

NAMED = 3
"""Unknown ids or colours that a message names."""

_GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of 16-bit grey."""

# Pillow raises SyntaxError for broken PNG chunks, and ValueError or EOFError for other damaged headers.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def decode_image(data: bytes, file: str) -> UInt8[np.ndarray, "h w 3"]:
    """An RGB picture, turned as its EXIF orientation says.

    Grey, palette and CMYK pictures become RGB; 16-bit grey is divided by 257; alpha is left off, with colours as they
    are stored. `file` is named in errors.
    """
    picture = ImageOps.exif_transpose(_loaded(data, file))
    if picture.mode in _GREY_16:
        grey = np.round(np.array(picture) / 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise BadFile(file, f"has 32-bit pixels (mode {picture.mode})", "save it as an 8-bit picture")
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"))


@dataclass(frozen=True)
class RawLabel:
    """What a label file holds, before a table says what it means.

    Attributes:
      ids: a number per pixel; None for a mask in colours.
      palette: a colour per id, of a palette file; else None.
      colours: a colour per pixel, of an RGB file; else None.
    """

    ids: Integer[np.ndarray, "h w"] | None
    palette: UInt8[np.ndarray, "n 3"] | None
    colours: UInt8[np.ndarray, "h w 3"] | None


def read_label(data: bytes, file: str) -> RawLabel:
    """Grey (1 to 16 bits), palette, RGB and RGBA label files; alpha is left off."""
    stored = _loaded(data, file)
    if stored.format in ("JPEG", "MPO"):
        raise BadFile(file, "is a label in JPEG, which changes ids and colours", "save labels as PNG")
    picture = ImageOps.exif_transpose(stored)
    if picture.mode == "P":
        return RawLabel(np.array(picture), _palette(picture), None)
    if picture.mode in ("RGB", "RGBA"):
        colours = np.ascontiguousarray(np.array(picture)[..., :3])
        grey = (colours[..., :1] == colours).all()
        return RawLabel(colours[..., 0] if grey else None, None, colours)
    if picture.mode == "LA":
        return RawLabel(np.array(picture)[..., 0], None, None)
    if picture.mode == "1":
        return RawLabel(np.array(picture).astype(np.uint8), None, None)
    if picture.mode in ("L", "I", *_GREY_16):
        return RawLabel(np.array(picture) // _stretched(data), None, None)
    mode = picture.mode
    raise BadFile(file, f"has pixels of mode {mode}, which no label has", "save it as a grey, palette or RGB PNG")


def _palette(picture: Image.Image) -> UInt8[np.ndarray, "256 3"]:
    entries = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(entries)] = entries
    return palette


def decode_label(
    data: bytes, table: LabelTable, file: str, transform: Callable[[np.ndarray], np.ndarray] | None = None
) -> UInt8[np.ndarray, "h w"]:
    """Classes of a label file, 255 = ignored.

    Ids are looked up first through `transform`, where one is given. A palette file is read by its colours where all
    that it uses are in the table and differ, and by its ids otherwise; so is an RGB file of greys.

    Raises:
      BadFile: an id or colour that the table does not have; it is named.
    """
    raw = read_label(data, file)
    ids = raw.ids if raw.ids is None or transform is None else transform(raw.ids)
    by_colour = _by_colour(raw, table)
    if by_colour is not None and (not (by_colour == UNKNOWN).any() or ids is None or not table.ids):
        return _known(by_colour, raw, ids, file, named_by_colour=True)
    if ids is not None and table.ids:
        return _known(table.from_ids(ids), raw, ids, file, named_by_colour=False)
    raise BadFile(
        file,
        "is a mask in colours, but no colours of classes are known",
        "give each class its colour, as --config.data.ids=#RRGGBB=CLASS,… or in classes.json",
    )


def _by_colour(raw: RawLabel, table: LabelTable) -> UInt8[np.ndarray, "h w"] | None:
    if not table.colours:
        return None
    if raw.colours is not None:
        return table.from_colours(raw.colours)
    assert raw.ids is not None
    if raw.palette is None:
        if table.ids or raw.ids.dtype != np.uint8:
            return None
        return table.from_colours(np.repeat(raw.ids[..., None], 3, axis=2))
    used = np.flatnonzero(np.bincount(raw.ids.ravel(), minlength=256))
    distinct = len(np.unique(packed(raw.palette[used]))) == len(used)
    if table.ids and not distinct:  # a palette that tells ids apart by nothing is no statement about colours
        return None
    return table.from_colours(raw.palette)[raw.ids]


def _known(
    classes: UInt8[np.ndarray, "h w"], raw: RawLabel, ids: np.ndarray | None, file: str, *, named_by_colour: bool
) -> UInt8[np.ndarray, "h w"]:
    wrong = classes == UNKNOWN
    if not wrong.any():
        return classes
    pixels = int(wrong.sum())
    if named_by_colour:
        names = [f"#{value:06x} {unpacked(value)}" for value in _values(packed(_colours(raw)), wrong)]
        example, kind = names[0].split(" ")[0], "colour"
    else:
        assert ids is not None
        names = [str(value) for value in _values(ids, wrong)]
        example, kind = names[0], "id"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    named = ", ".join(names[:NAMED]) + more
    raise BadFile(
        file,
        f"has the {kind}{'s' * (len(names) > 1)} {named} in {pixels} pixels, which no class has",
        f"correct the label, or say what is meant: --config.data.ids={example}=ignore (or =CLASS)",
    )


def _values(of: np.ndarray, where: np.ndarray) -> list[int]:
    values, counts = np.unique(of[where], return_counts=True)
    return [int(value) for value in values[np.argsort(-counts, kind="stable")]]


def _colours(raw: RawLabel) -> np.ndarray:
    if raw.colours is not None:
        return raw.colours
    assert raw.ids is not None
    return raw.palette[raw.ids] if raw.palette is not None else np.repeat(raw.ids[..., None], 3, axis=2)


def _stretched(data: bytes) -> int:
    """What Pillow multiplies the ids of a grey PNG of 2 or 4 bits by, to make black and white of 0 and the largest."""
    is_grey_png = data[:8] == b"\x89PNG\r\n\x1a\n" and data[25] == 0
    return {2: 85, 4: 17}.get(data[24], 1) if is_grey_png else 1


def _loaded(data: bytes, file: str) -> Image.Image:
    if not data:
        raise BadFile(file, "is empty (0 bytes)", "replace the file")
    try:
        picture = Image.open(io.BytesIO(data))
    except _DAMAGE as error:  # among them that it is no picture at all
        raise BadFile(file, "is not a readable picture", "replace the file") from error
    try:
        picture.load()
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise BadFile(file, f"is truncated or damaged ({reason})", "replace the file") from error
    return picture
