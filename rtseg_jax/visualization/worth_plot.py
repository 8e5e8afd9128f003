"""Why a searched network has its widths: worth per millisecond of every group, before and after the search."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rtseg_jax.visualization.plots import quiet

Reasons = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""`first` and `last` decision → group → width, size, and worth per millisecond lost and gained, as in `worth.json`."""

BEFORE, AFTER, KEPT = "#c9c9c9", "#1f5fa8", "#9dbbe0"


def plot_worth(reasons: Reasons, unit: str = "ms") -> Figure:
    """Left: kept channels of every group. Right: what its cheapest channels are worth per millisecond.

    Before the search the groups differ a thousandfold; where one threshold decides, those that are left have about the
    same, which no exchange between groups can better. Groups that no path reaches are left out.
    """
    names = list(reasons["last"])
    figure = Figure(figsize=(10, 1.2 + 0.22 * len(names)), layout="constrained")
    widths, worth = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    for row, name in enumerate(names):
        last = reasons["last"][name]
        widths.barh(row, 1.0, color="#eeeeee", height=0.7)
        widths.barh(row, last["width"] / last["size"], color=KEPT, height=0.7)
        widths.text(1.02, row, f"{last['width']} of {last['size']}", va="center", fontsize=7)
        _draw_worth(worth, row, reasons["first"].get(name, {}).get("lost"), last["lost"])
    widths.set_yticks(range(len(names)), names, fontsize=7)
    widths.set_xlim(0, 1.45)
    widths.set_xticks([])
    widths.set_title("channels kept", loc="left", fontsize=10)
    widths.invert_yaxis()
    worth.set_xscale("log")
    worth.set_title(f"loss that its cheapest channels save, per {unit} that they cost", loc="left", fontsize=10)
    quiet(worth)
    widths.spines[["top", "right", "bottom", "left"]].set_visible(False)
    handles = [
        worth.scatter([], [], color=colour, label=label) for colour, label in ((BEFORE, "before"), (AFTER, "after"))
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
    return figure


def _draw_worth(panel: Axes, row: int, before: float | None, after: float | None) -> None:
    """A dot for each, joined; a group that cannot get narrower, or whose channels are worth nothing, has none."""
    known = [value for value in (before, after) if value]
    if len(known) == 2:
        panel.plot(known, [row, row], color=BEFORE, linewidth=1, zorder=1)
    for value, colour in ((before, BEFORE), (after, AFTER)):
        if value:
            panel.scatter(value, row, color=colour, s=22, zorder=2)
