"""Plots of a run's history. Every function returns a figure of its own: nothing global, no display needed.

A figure for which the history has no rows says so instead of showing empty axes.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rtseg_jax.visualization.history import Row, Timeline, timeline

PATHS = {"skip": "#b8b8b8", "lir": "#4477aa", "mhsa": "#ee7733"}
"""Colours of RTSeg's choices; others get what is left of `PHASE_COLORS`."""

PHASE_COLORS = ("#4477aa", "#ee7733", "#228833", "#aa3377", "#66ccee")
TARGET_COLOR = "#222222"
MARKERS = "osD^vP*X"
SMOOTHING = 25  # about as many windows per curve
TIME = "step of the run"


def plot_losses(history: Iterable[Row]) -> Figure:
    """One panel per loss, as logged (pale) and smoothed, one colour per phase."""
    line = timeline(history)
    names = line.names("losses")
    if not names:
        return _message("No losses recorded yet")
    figure, panels = _panels(len(names), columns=2, size=(6.0, 2.8))
    for panel, name in zip(panels, names, strict=True):
        for color, x, y in _curves(line, "losses", name):
            panel.plot(x, y, color=color, alpha=0.3, linewidth=0.8)
            panel.plot(*_smooth(x, y), color=color, linewidth=1.8)
        panel.set_title(name, loc="left", fontsize=10)
    _time_axes(figure, panels, line, "losses")
    return figure


def plot_latency(history: Iterable[Row], target: float | None, unit: str = "ms") -> Figure:
    """Predicted latency over the search against its target, both in milliseconds."""
    line = timeline(history)
    if not line.series("latency_ms")[0]:
        return _message("No latency recorded yet")
    figure, (panel,) = _panels(1, columns=1, size=(8.0, 3.8))
    for color, x, y in _curves(line, "latency_ms"):
        panel.plot(x, y, color=color, linewidth=1.5)
    lines = []
    if target is not None:
        lines = [
            panel.axhline(target, color=TARGET_COLOR, linestyle="--", linewidth=1.2, label=f"target {target:g} {unit}")
        ]
    panel.set_ylabel(f"predicted latency ({unit})")
    _time_axes(figure, [panel], line, "latency_ms", *lines)
    return figure


def plot_channels(history: Iterable[Row]) -> Figure:
    """Heat map of the share of channels kept, groups by steps."""
    line = timeline(history)
    groups, (positions, rows) = line.names("kept"), line.series("kept")
    if not groups:
        return _message("No channel counts recorded yet")
    shares = np.full((len(groups), len(rows)), np.nan)
    for column, row in enumerate(rows):
        for group, (kept, total) in row.items():
            shares[groups.index(group), column] = kept / total
    figure, (panel,) = _panels(1, columns=1, size=(9.0, 1.2 + 0.22 * len(groups)))
    mesh = panel.pcolormesh(_edges(positions), np.arange(len(groups) + 1), shares, cmap="viridis", vmin=0, vmax=1)
    last = [line.series("kept", group)[1][-1] for group in groups]
    labels = [f"{group}  {kept}/{total}" for group, (kept, total) in zip(groups, last, strict=True)]
    panel.set_yticks(np.arange(len(groups)) + 0.5, labels, fontsize=8)
    panel.invert_yaxis()
    panel.set_xlabel(TIME)
    panel.set_title("channels kept (beside the names: last count)", loc="left", fontsize=10)
    figure.colorbar(mesh, ax=panel, label="share kept", pad=0.02)
    return figure


def plot_paths(history: Iterable[Row], choices: Sequence[str] = tuple(PATHS)) -> Figure:
    """Probabilities of the choices over time, one panel of stacked areas per mixed block; all have the same choices."""
    line = timeline(history)
    blocks = line.names("paths")
    if not blocks:
        return _message("No path probabilities recorded yet")
    figure, panels = _panels(len(blocks), columns=4, size=(3.0, 2.0), sharey=True)
    others = iter([color for color in PHASE_COLORS if color not in PATHS.values()])
    colors = [PATHS.get(choice) or next(others, "#777777") for choice in choices]
    for panel, block in zip(panels, blocks, strict=True):
        x, probabilities = line.series("paths", block)
        rows = np.transpose(probabilities)
        labels = [choice.upper() if choice != "skip" else choice for choice in choices]
        areas = panel.stackplot(x, *rows, colors=colors, labels=labels)
        panel.set_title(block, loc="left", fontsize=9)
        panel.set_ylim(0, 1)
        panel.margins(x=0)
        panel.set_xlabel(TIME, fontsize=8)
        panel.tick_params(labelsize=8)
    figure.legend(handles=areas, loc="outside upper center", ncols=len(choices), frameon=False)
    return figure


def plot_phase_miou(history: Iterable[Row]) -> Figure:
    """Validation mIoU over the run, each phase in its colour with its last value."""
    line = timeline(history)
    if not line.series("miou")[0]:
        return _message("No mIoU recorded yet")
    figure, (panel,) = _panels(1, columns=1, size=(8.0, 3.8))
    for color, x, y in _curves(line, "miou"):
        percent = [100 * value for value in y]
        panel.plot(x, percent, color=color, marker="o", markersize=3)
        text = f"{percent[-1]:.1f}"
        panel.annotate(text, (x[-1], percent[-1]), (0, 7), textcoords="offset points", ha="right", color=color)
    panel.set_ylabel("validation mIoU (%)")
    panel.margins(y=0.15)
    _time_axes(figure, [panel], line, "miou")
    return figure


def plot_results_table(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """mIoU against latency, one marker per network; rows have `name`, `miou` (share) and `latency_ms`."""
    complete = [row for row in rows if row.get("miou") is not None and row.get("latency_ms") is not None]
    if not complete:
        return _message("No network has both mIoU and latency yet")
    figure, (panel,) = _panels(1, columns=1, size=(8.5, 4.2))
    for number, row in enumerate(complete):
        text = f"{row['name']}: {100 * row['miou']:.1f} %, {row['latency_ms']:.3g} {row.get('latency_unit', 'ms')}"
        color, marker = PHASE_COLORS[number % len(PHASE_COLORS)], MARKERS[number % len(MARKERS)]
        panel.scatter(row["latency_ms"], 100 * row["miou"], s=60, color=color, marker=marker, label=text)
    panel.set_xlabel(f"latency ({complete[0].get('latency_unit', 'ms')})")
    panel.set_ylabel("mIoU (%)")
    panel.set_xlim(left=0)
    panel.margins(y=0.15)
    quiet(panel)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _panels(count: int, *, columns: int, size: tuple[float, float], sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes of `size` (inches) in rows of `columns`."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.4), dpi=110, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _message(text: str) -> Figure:
    figure = Figure(figsize=(6, 1.5), dpi=110)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=13, color="#666666")
    return figure


def _time_axes(figure: Figure, panels: Sequence[Axes], line: Timeline, key: str, *others: Artist) -> None:
    """One time axis for all panels over the phases that have `key`; the legend names their colours, and `others`."""
    phases = [phase for phase in line.spans if line.series(key, phase=phase)[0]]
    start, end = line.spans[phases[0]][0], line.spans[phases[-1]][1]
    pad = max(0.5, 0.02 * (end - start))
    for panel in panels:
        for phase in phases[1:]:
            panel.axvline(line.spans[phase][0], color="#999999", linewidth=0.8, linestyle=":")
        panel.set_xlim(start - pad, end + pad)
        panel.set_xlabel(TIME)
        quiet(panel)
    handles = [Line2D([], [], color=_color(line, phase), linewidth=2, label=phase) for phase in phases]
    figure.legend(handles=[*handles, *others], loc="outside upper right", ncols=len(handles) + 1, frameon=False)


def quiet(panel: Axes) -> None:
    """Axes without a frame, with a pale grid behind what is drawn."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#e5e5e5", linewidth=0.6)
    panel.set_axisbelow(True)


def _curves(line: Timeline, *keys: str) -> Iterator[tuple[str, list[int], list[float]]]:
    """Colour, positions and values of each phase that has values."""
    for phase in line.spans:
        x, y = line.series(*keys, phase=phase)
        if x:
            yield _color(line, phase), x, y


def _color(line: Timeline, phase: str) -> str:
    """A phase has the same colour in every plot."""
    return PHASE_COLORS[list(line.spans).index(phase) % len(PHASE_COLORS)]


def _smooth(x: Sequence[int], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Mean over windows of rows: about `SMOOTHING` points, the curve itself where it has fewer."""
    window = max(1, len(x) // SMOOTHING)
    cuts = range(0, len(x), window)
    return [float(np.mean(x[i : i + window])) for i in cuts], [float(np.mean(y[i : i + window])) for i in cuts]


def _edges(positions: Sequence[int]) -> np.ndarray:
    """Cell edges half way between positions."""
    middle = np.asarray(positions, float)
    step = np.diff(middle) if len(middle) > 1 else np.ones(1)
    return np.concatenate([middle[:1] - step[0] / 2, middle[:-1] + np.diff(middle) / 2, middle[-1:] + step[-1] / 2])
