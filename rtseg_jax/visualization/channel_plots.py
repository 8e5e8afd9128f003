"""Channels of a searched network, by part and in the order of the network: their course, what is left, and why."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rtseg_jax.visualization.history import Row, timeline
from rtseg_jax.visualization.plots import STEP
from rtseg_jax.visualization.style import LIGHT, SMALL, Look, new_figure, quiet, styled, ticks
from rtseg_jax.visualization.wording import part_of, within_part

Reasons = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""`first` and `last` decision → group → width, size, and worth per millisecond lost and gained, as in `worth.json`."""

ROW = 0.205  # inches
LEGEND: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (-0.02, 1.0),
    "frameon": False,
    "columnspacing": 1.0,
    "handletextpad": 0.4,
    "borderpad": 0.0,
}


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a figure: one for every group, and above every part one for its name."""

    groups: Mapping[str, int]
    parts: Sequence[tuple[int, str]]

    @staticmethod
    def of(names: Iterable[str]) -> "Rows":
        """In the order of the names."""
        groups: dict[str, int] = {}
        parts: list[tuple[int, str]] = []
        for name in names:
            if not parts or parts[-1][1] != part_of(name):
                parts.append((len(groups) + len(parts), part_of(name)))
            groups[name] = len(groups) + len(parts)
        return Rows(groups, parts)

    def __len__(self) -> int:
        return len(self.groups) + len(self.parts)

    def label(self, panel: Axes, look: Look) -> None:
        """Names at the left of the axes, those of parts bold."""
        ticks = sorted([(row, within_part(name)) for name, row in self.groups.items()] + list(self.parts))
        panel.set_yticks([row for row, _ in ticks], [text for _, text in ticks], fontsize=SMALL)
        for label, tick in zip(panel.get_yticklabels(), ticks, strict=True):
            if tick in self.parts:
                label.set_fontweight("bold")
            else:
                label.set_color(look.faint)
        panel.tick_params(axis="y", length=0)
        panel.set_ylim(len(self) - 0.4, -0.6)


@styled
def plot_widths(
    widths: Mapping[str, int],
    sizes: Mapping[str, int],
    uniform: Mapping[str, int],
    reasons: Reasons | None = None,
    unit: str = "ms",
    *,
    look: Look = LIGHT,
) -> Figure | None:
    """Left: channels kept of every group, of how many. Right, for a search by worth: its cheapest ones' worth per cost.

    Before the search the groups differ a thousandfold; where one threshold decides, those that are left have about the
    same, which no exchange between groups can better. `uniform` marks the widths of the uniformly scaled network.
    """
    if not widths:
        return None
    rows = Rows.of(widths)
    figure = new_figure(1.0 + ROW * len(rows))
    ratios = (1,) if reasons is None else (5, 4)
    panels = figure.subplots(1, len(ratios), sharey=True, squeeze=False, width_ratios=ratios)[0]
    _draw_widths(panels[0], rows, (widths, sizes, uniform), look)
    ticks(panels[0], look)
    rows.label(panels[0], look)
    if reasons is not None:
        _draw_worth(panels[1], rows, reasons, unit, look)
    return figure


@styled
def plot_channels(history: Iterable[Row], groups: Sequence[str] = (), *, look: Look = LIGHT) -> Figure | None:
    """Heat map of the share of channels kept over the search: groups in the order given, or as recorded."""
    line = timeline([row for row in history if row["phase"] == "search"])
    recorded, (steps, kept_of_step) = line.names("kept"), line.series("kept")
    names = [name for name in groups if name in recorded] or recorded
    if not names:
        return None
    rows = Rows.of(names)
    shares = np.full((len(rows), len(steps)), np.nan)
    for column, counts in enumerate(kept_of_step):
        for name in set(counts) & set(rows.groups):
            kept, total = counts[name]
            shares[rows.groups[name], column] = kept / total
    figure = new_figure(0.9 + ROW * len(rows))
    panel = figure.subplots()
    edges = np.arange(len(rows) + 1) - 0.5
    mesh = panel.pcolormesh(_edges(steps), edges, np.ma.masked_invalid(shares), cmap=look.shades, vmin=0, vmax=1)
    ticks(panel, look)
    rows.label(panel, look)
    panel.set_xlabel(STEP)
    panel.spines[:].set_visible(False)
    bar = figure.colorbar(mesh, ax=panel, label="share of channels kept", pad=0.02, aspect=45)
    ticks(bar.ax, look)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _draw_widths(panel: Axes, rows: Rows, widths: Sequence[Mapping[str, int]], look: Look) -> None:
    """Bars of the searched widths in those of the supernet, with ticks where uniform scaling ends."""
    searched, sizes, uniform = widths
    for name, row in rows.groups.items():
        size = sizes[name]
        panel.barh(row, 1.0, color=look.empty, height=0.72)
        panel.barh(row, searched[name] / size, color=look.blue, height=0.72)
        panel.text(1.03, row, f"{searched[name]} of {size}", va="center", fontsize=SMALL)
        if name in uniform:
            panel.plot([uniform[name] / size] * 2, [row - 0.36, row + 0.36], color=look.orange, linewidth=2.2)
    panel.set_xlim(0, 1.36)
    panel.set_xticks([])
    panel.spines[:].set_visible(False)
    handles: list[Any] = [Patch(color=look.blue, label="searched"), Patch(color=look.empty, label="supernet")]
    if uniform:
        handles.append(Line2D([], [], color=look.orange, linewidth=2.2, label="uniform scaling"))
    panel.legend(handles=handles, ncols=len(handles), handlelength=1.2, **LEGEND)


def _draw_worth(panel: Axes, rows: Rows, reasons: Reasons, unit: str, look: Look) -> None:
    """A dot before and one after the search, joined; a group that cannot get narrower has none."""
    for name, row in rows.groups.items():
        before, after = (reasons[when].get(name, {}).get("lost") for when in ("first", "last"))
        if before and after:
            panel.plot([before, after], [row, row], color=look.grey, linewidth=1, alpha=0.7, zorder=1)
        if before:
            panel.scatter(before, row, s=20, facecolors=look.paper, edgecolors=look.grey, linewidths=1.4, zorder=2)
        if after:
            panel.scatter(after, row, s=26, color=look.blue, zorder=3)
    panel.set_xscale("log")
    panel.set_xlabel(f"loss saved per {unit}")
    quiet(panel, look, "x")
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    circle: dict[str, Any] = {"linestyle": "none", "marker": "o"}
    handles = [
        Line2D(
            [], [], color=look.grey, markerfacecolor=look.paper, markersize=4.5, label="before the search", **circle
        ),
        Line2D([], [], color=look.blue, markersize=5, label="after it", **circle),
    ]
    panel.legend(handles=handles, ncols=2, handlelength=1.0, **LEGEND)


def _edges(positions: Sequence[int]) -> np.ndarray:
    """Cell edges half way between positions."""
    middle = np.asarray(positions, float)
    step = np.diff(middle) if len(middle) > 1 else np.ones(1)
    return np.concatenate([middle[:1] - step[0] / 2, middle[:-1] + np.diff(middle) / 2, middle[-1:] + step[-1] / 2])
