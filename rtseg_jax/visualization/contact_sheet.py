"""Pictures beside their labels on one sheet, with a legend of the classes that can be seen."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from rtseg_jax.labels import IGNORE
from rtseg_jax.visualization.overlay import INK, PAPER, blend
from rtseg_jax.visualization.palette import VOID_COLOR, Color, Palette

CELL = (480, 300)
"""Most room of a picture and its label side by side, (width, height) in pixels."""

COLUMNS = 3
GAP, TEXT = 16, 15
IGNORED = "ignored"
_LINE = round(1.7 * TEXT)


@dataclass(frozen=True)
class Shown:
    """One example of a sheet; `name` stands below it."""

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]


def contact_sheet(shown: Sequence[Shown], class_names: Sequence[str], palette: Palette) -> Image.Image:
    """Each picture beside itself tinted with its classes' colours, above the names and colours of these classes."""
    columns = max(1, min(COLUMNS, len(shown)))
    width = columns * (CELL[0] + GAP) + GAP
    rows = [_row(shown[first : first + columns], palette, width) for first in range(0, len(shown), columns)]
    occurring = sorted(set().union(*(np.unique(one.label).tolist() for one in shown)))
    entries = [(class_names[index], palette[index]) for index in occurring if index != IGNORE]
    parts = [*rows, legend_of(entries, width, with_ignored=IGNORE in occurring)]
    sheet = Image.new("RGB", (width, GAP + sum(part.height for part in parts)), PAPER)
    top = GAP
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def _row(shown: Sequence[Shown], palette: Palette, width: int) -> Image.Image:
    """As high as its highest picture."""
    cells = [_side_by_side(one, palette) for one in shown]
    height = max(cell.height for cell in cells)
    row = Image.new("RGB", (width, height + _LINE + GAP), PAPER)
    draw, font = ImageDraw.Draw(row), font_of_names()
    for number, (one, cell) in enumerate(zip(shown, cells, strict=True)):
        left = GAP + number * (CELL[0] + GAP)
        row.paste(cell, (left + (CELL[0] - cell.width) // 2, (height - cell.height) // 2))
        text = shortened(one.name, lambda words: font.getlength(words) <= CELL[0])
        draw.text((left + CELL[0] / 2, height + _LINE / 2), text, INK, font, anchor="mm")
    return row


def legend_of(entries: Sequence[tuple[str, Color]], width: int, *, with_ignored: bool) -> Image.Image:
    """Swatches and names, in columns wide enough for the longest name; last the stripes of ignored pixels."""
    entries = [*entries, (IGNORED, VOID_COLOR)] if with_ignored else entries
    font = font_of_names()
    swatch = round(1.1 * TEXT)
    cell = max((font.getlength(name) for name, _ in entries), default=0) + swatch + 2 * TEXT
    columns = max(1, int((width - 2 * GAP) // cell))
    legend = Image.new("RGB", (width, _LINE * math.ceil(len(entries) / columns) + GAP), PAPER)
    draw = ImageDraw.Draw(legend)
    for number, (name, colour) in enumerate(entries):
        left, top = GAP + number % columns * cell, number // columns * _LINE
        draw.rectangle((left, top, left + swatch, top + swatch), fill=colour, outline=INK)
        if with_ignored and number == len(entries) - 1:
            legend.paste(PAPER, (round(left) + 1, top + 1), Image.fromarray(_stripes((swatch - 1, swatch - 1))))
        draw.text((left + swatch + TEXT / 2, top + swatch / 2), name, INK, font, anchor="lm")
    return legend


@functools.cache
def font_of_names() -> ImageFont.FreeTypeFont:
    """Matplotlib's own: Pillow's has no letters beyond English, which names of files and classes do have."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", TEXT)


def shortened(name: str, fits: Callable[[str], bool]) -> str:
    """The name, with its middle left out until it fits: ends tell pictures apart."""
    for kept in range(len(name), 1, -1):
        text = name if kept == len(name) else f"{name[: kept // 3]}…{name[len(name) - (kept - kept // 3) :]}"
        if fits(text):
            return text
    return name[-1:]


def _side_by_side(one: Shown, palette: Palette) -> Image.Image:
    height, width = one.label.shape
    room = (CELL[0] - 4) / 2
    scale = min(room / width, CELL[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    kind = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    cell = Image.new("RGB", (2 * size[0] + 4, size[1]), PAPER)
    for at, panel in enumerate((one.image, blend(one.image, one.label, palette))):
        cell.paste(Image.fromarray(panel).resize(size, kind), (at * (size[0] + 4), 0))
    # Striped and not in a colour: every colour may be that of a class, as black is of VOC's background.
    ignored = np.array(Image.fromarray(one.label).resize(size, Image.Resampling.NEAREST)) == IGNORE
    cell.paste(PAPER, (size[0] + 4, 0), Image.fromarray(_stripes(ignored.shape) & ignored))
    return cell


def _stripes(shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    row, column = np.indices(shape)
    return (row + column) % 6 < 2
