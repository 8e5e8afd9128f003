"""Plots of a run's history and of its networks, each a figure of its own: nothing global, no display needed.

They return None where there is nothing to draw.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rtseg_jax.visualization.history import Row, Timeline, timeline
from rtseg_jax.visualization.style import DASHED, DOTTED, LIGHT, SMALL, Look, new_figure, quiet, spread_out, styled
from rtseg_jax.visualization.wording import (
    CHOICES,
    LOSSES,
    NETWORKS,
    PHASES,
    name_of,
    part_of,
    percent,
    quantity,
    three_digits,
    within_part,
)

PHASE_COLORS = {"pretrain": "grey", "search": "blue", "finetune": "green", "uniform": "orange", "train": "blue"}
CHOICE_COLORS = {"skip": "grey", "lir": "blue", "mhsa": "orange"}
MARKS = {"searched": ("blue", "o"), "uniform": ("orange", "s"), "trained": ("blue", "o"), "bisenetv2": ("grey", "D")}
"""Colour and marker of the networks, the same in every plot."""

BEFORE_TRAINING_ENDED = ("searched, sliced", "searched, recalibrated")  # in tables only
SMOOTHING = 25  # about as many windows per curve
LOG_FROM = 4.0  # a wider range of latencies has a logarithmic axis
LEAST_ROOM = 5.0  # points of mIoU above and below: a gap of a point must not look large
LABEL_HEIGHT = 0.16  # of a label of two lines, as a share of the axes
STEP, RUN_STEP = "step of the search", "step of the run"

Marks = Sequence[tuple[int, str]]
"""Steps of the search at which something was decided, and what to say of it."""


@styled
def plot_results(
    rows: Sequence[Mapping[str, Any]], target: float | None, unit: str, *, look: Look = LIGHT
) -> Figure | None:
    """mIoU against latency with labels beside the points; networks without a score are lines at their latency.

    `unit` is that of the target, which is drawn where latencies are measured in the same.
    """
    shown = [row for row in rows if row["name"] not in BEFORE_TRAINING_ENDED and row.get("latency_ms") is not None]
    scored = [row for row in shown if row.get("miou") is not None]
    if not scored:
        return None
    measured = shown[0].get("latency_unit", "ms")
    lines = [
        (row["latency_ms"], name_of(NETWORKS, row["name"]), look.grey, DOTTED) for row in shown if row not in scored
    ]
    if target is not None and unit == measured:
        lines.append((target, "target", look.ink, DASHED))
    figure = new_figure(4.2)
    panel = figure.subplots()
    latency_axis(panel, [row["latency_ms"] for row in shown] + [line[0] for line in lines], measured)
    scores = [100 * row["miou"] for row in scored]
    room = max(LEAST_ROOM, 0.6 * (max(scores) - min(scores)))
    panel.set_ylim(max(0.0, min(scores) - room), min(100.0, max(scores) + room))
    name_lines(panel, lines, measured)
    low, high = panel.get_ylim()
    for row, score, place in zip(scored, scores, spread_out(scores, LABEL_HEIGHT * (high - low)), strict=True):
        color, marker = mark_of(row["name"], look)
        figures = f"{percent(row['miou'])}, {three_digits(row['latency_ms'])} {measured}"
        panel.scatter(row["latency_ms"], score, s=70, color=color, marker=marker, zorder=4)
        label_point(panel, (row["latency_ms"], score), place, f"{name_of(NETWORKS, row['name'])}\n{figures}", look)
    panel.set_ylabel("validation mIoU (%)")
    quiet(panel, look)
    return figure


@styled
def plot_cost(
    history: Iterable[Row], target: float | None, unit: str = "ms", marks: Marks = (), *, look: Look = LIGHT
) -> Figure | None:
    """Predicted cost over the search, its target, and when was decided."""
    steps, values = timeline(_search(history)).series("cost")
    if not steps:
        return None
    figure = new_figure(3.3)
    panel = figure.subplots()
    panel.plot(steps, values, color=look.blue, linewidth=2, marker="o", markersize=3)
    _annotate_last(panel, steps[-1], values[-1], f"{three_digits(values[-1])} {unit}", look.blue)
    panel.set_ylim(0, 1.3 * max([*values, target or 0.0]))  # room for the words above
    if target is not None:
        panel.axhline(target, color=look.ink, linestyle=DASHED, linewidth=1.2)
        text = f"target {three_digits(target)} {unit}"
        panel.annotate(
            text, (0, target), (4, -3), xycoords=("axes fraction", "data"), textcoords="offset points", va="top"
        )
    _draw_marks(panel, marks, look)
    panel.set_ylabel(f"predicted {quantity(unit)} ({unit})")
    panel.set_xlabel(STEP)
    quiet(panel, look, "y")
    return figure


@styled
def plot_paths(
    history: Iterable[Row], choices: Sequence[str] = tuple(CHOICES), marks: Marks = (), *, look: Look = LIGHT
) -> Figure | None:
    """Probabilities of the choices over the search, stacked: a panel per mixed block, named by its last choice."""
    line = timeline(_search(history))
    blocks = sorted(line.names("paths"), key=by_number)
    if not blocks:
        return None
    figure, panels = _panels(len(blocks), columns=3, height=1.9, sharey=True)
    others = iter((look.green, look.purple, look.sky, look.yellow))
    colors = [getattr(look, CHOICE_COLORS[choice]) if choice in CHOICE_COLORS else next(others) for choice in choices]
    names = [name_of(CHOICES, choice) for choice in choices]
    for panel, block in zip(panels, blocks, strict=True):
        steps, probabilities = line.series("paths", block)
        areas = panel.stackplot(steps, *np.transpose(probabilities), colors=colors, labels=names, step="mid")
        decided = names[int(np.argmax(probabilities[-1]))]
        panel.set_title(f"{part_of(block)}, {within_part(block)}: {decided}", loc="left", fontsize=SMALL)
        panel.set_ylim(0, 1)
        panel.margins(x=0)
        for step, _ in marks:
            if steps[0] < step < steps[-1]:
                panel.axvline(step, color=look.ink, linewidth=0.9, linestyle=DOTTED)
        panel.set_xlabel(STEP, fontsize=SMALL)
        quiet(panel, look)
        panel.grid(visible=False)
    panels[0].set_ylabel("probability")
    figure.legend(handles=areas, loc="outside upper left", ncols=len(choices), frameon=False)
    if said := "; ".join(text for _, text in marks):
        figure.suptitle(f"dotted: {said}", x=0.99, ha="right", fontsize=SMALL, color=look.faint)
    return figure


@styled
def plot_losses(history: Iterable[Row], *, look: Look = LIGHT) -> Figure | None:
    """One panel per loss, as logged (pale) and smoothed, one colour per phase."""
    line = timeline(history)
    names = [name for name in line.names("losses") if any(line.series("losses", name)[1])]
    if not names:
        return None
    figure, panels = _panels(len(names), columns=2 + len(names) % 2, height=2.1)
    for panel, name in zip(panels, names, strict=True):
        for color, x, y in _curves(line, look, "losses", name):
            panel.plot(x, y, color=color, alpha=0.35, linewidth=0.8)
            panel.plot(*_smooth(x, y), color=color, linewidth=1.8)
        panel.set_title(name_of(LOSSES, name), loc="left")
    _time_axes(figure, panels, line, look, "losses")
    return figure


@styled
def plot_phase_miou(history: Iterable[Row], *, look: Look = LIGHT) -> Figure | None:
    """Validation mIoU over the run, each phase in its colour with its last value; None for one value per phase."""
    line = timeline(history)
    if all(len(line.series("miou", phase=phase)[0]) < 2 for phase in line.spans):
        return None
    figure, (panel,) = _panels(1, columns=1, height=3.0)
    for color, x, y in _curves(line, look, "miou"):
        values = [100 * value for value in y]
        panel.plot(x, values, color=color, marker="o", markersize=5)
        text = f"{values[-1]:.1f}"
        panel.annotate(text, (x[-1], values[-1]), (0, 8), textcoords="offset points", ha="center")
    panel.set_ylabel("validation mIoU (%)")
    panel.set_ylim(0, min(100, 115 * max(line.series("miou")[1])))
    _time_axes(figure, [panel], line, look, "miou")
    return figure


def mark_of(name: str, look: Look) -> tuple[str, str]:
    """Colour and marker of a network."""
    color, marker = MARKS.get(name, ("purple", "^"))
    return getattr(look, color), marker


def latency_axis(panel: Axes, values: Sequence[float], unit: str) -> None:
    """The axis of latencies: from 0, or logarithmic where they differ much."""
    wide = max(values) > LOG_FROM * min(values)
    panel.set_xlabel(f"latency ({unit}{', logarithmic' if wide else ''})")
    if not wide:
        panel.set_xlim(0, 1.35 * max(values))
        return
    panel.set_xscale("log")
    panel.set_xlim(min(values) / 1.3, 1.5 * max(values))
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def name_lines(panel: Axes, lines: Sequence[tuple[float, str, str, Any]], unit: str) -> None:
    """Vertical lines (latency, name, colour, dashes) with name and figure above the axes, none over another."""
    if not lines:
        return
    to_axes = panel.transData + panel.transAxes.inverted()
    places = spread_out([float(to_axes.transform((line[0], 1.0))[0]) for line in lines], 0.16)
    for (latency, name, color, dashes), place in zip(lines, places, strict=True):
        panel.axvline(latency, color=color, linewidth=1.2, linestyle=dashes, zorder=1)
        text = f"{name}\n{three_digits(latency)} {unit}"
        panel.text(place, 1.02, text, transform=panel.transAxes, ha="center", va="bottom", fontsize=SMALL)


def label_point(panel: Axes, point: tuple[float, float], height: float, text: str, look: Look) -> None:
    """Text beside a point, on the side with more room, at `height` of the data, with a thread to its point."""
    to_axes = panel.transData + panel.transAxes.inverted()
    left = float(to_axes.transform(point)[0]) > 0.62
    panel.annotate(
        text,
        point,
        (-16 if left else 16, height),
        textcoords=("offset points", "data"),
        ha="right" if left else "left",
        va="center",
        linespacing=1.3,
        arrowprops={"arrowstyle": "-", "color": look.faint, "linewidth": 0.7, "shrinkA": 2, "shrinkB": 5},
        bbox={"facecolor": look.paper, "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
        zorder=3,
    )


def _search(history: Iterable[Row]) -> list[Row]:
    return [row for row in history if row["phase"] == "search"]


def by_number(name: str) -> list[tuple[int, str]]:
    """Network order where names are numbered: stage8 before stage16."""
    parts = "".join(c if c.isdigit() else f" {c} " for c in name).split()
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _draw_marks(panel: Axes, marks: Marks, look: Look) -> None:
    for step, text in marks:
        panel.axvline(step, color=look.grey, linewidth=0.9, linestyle=DOTTED, zorder=1)
        if text:
            panel.annotate(
                text,
                (step, 1),
                (3, -2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                fontsize=SMALL,
                color=look.faint,
                bbox={"facecolor": look.paper, "edgecolor": "none", "pad": 1.0},
            )


def _annotate_last(panel: Axes, x: int, y: float, text: str, color: str) -> None:
    panel.annotate(text, (x, y), (0, 9), textcoords="offset points", ha="right", color=color, fontweight="bold")


def _panels(count: int, *, columns: int, height: float, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes, each so many inches high, in rows of `columns`."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = new_figure(height * rows + 0.5)
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _time_axes(figure: Figure, panels: Sequence[Axes], line: Timeline, look: Look, key: str) -> None:
    """One time axis for all panels over the phases that have `key`; the legend names their colours."""
    phases = [phase for phase in line.spans if line.series(key, phase=phase)[0]]
    start, end = line.spans[phases[0]][0], line.spans[phases[-1]][1]
    pad = max(0.5, 0.02 * (end - start))
    for panel in panels:
        for phase in phases[1:]:
            panel.axvline(line.spans[phase][0], color=look.grey, linewidth=0.8, linestyle=DOTTED)
        panel.set_xlim(start - pad, end + pad)
        panel.set_xlabel(RUN_STEP)
        quiet(panel, look)
    handles = [Line2D([], [], color=_color(phase, look), linewidth=2, label=name_of(PHASES, phase)) for phase in phases]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False)


def _curves(line: Timeline, look: Look, *keys: str) -> Iterator[tuple[str, list[int], list[float]]]:
    """Colour, positions and values of each phase that has values."""
    for phase in line.spans:
        x, y = line.series(*keys, phase=phase)
        if any(y):  # a loss that a phase leaves out is logged as 0
            yield _color(phase, look), x, y


def _color(phase: str, look: Look) -> str:
    """A phase has the same colour in every plot."""
    return getattr(look, PHASE_COLORS.get(phase, "purple"))


def _smooth(x: Sequence[int], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Mean over windows of rows: about `SMOOTHING` points, the curve itself where it has fewer."""
    window = max(1, len(x) // SMOOTHING)
    cuts = range(0, len(x), window)
    return [float(np.mean(x[i : i + window])) for i in cuts], [float(np.mean(y[i : i + window])) for i in cuts]
