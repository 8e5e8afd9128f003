"""mIoU against measured latency of the networks of several targets."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from rtseg_jax.visualization.plots import quiet

LOOKS = {  # name of the row: label, colour, marker, line
    "searched": ("searched", "#1f5fa8", "o", "-"),
    "uniform": ("scaled uniformly", "#b8862b", "s", "--"),
    "bisenetv2": ("BiSeNetV2", "#666666", "D", ""),
}


def plot_front(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Lines through the searched and through the scaled networks; those without a score mark their time."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    panel = figure.subplots()
    for name, (label, colour, marker, line) in LOOKS.items():
        points = sorted((r["latency_ms"], 100 * r["miou"]) for r in rows if r["name"] == name and r["miou"] is not None)
        if points:
            milliseconds, scores = zip(*points, strict=True)
            panel.plot(milliseconds, scores, color=colour, marker=marker, linestyle=line or "none", label=label)
        times = [row["latency_ms"] for row in rows if row["name"] == name and row["miou"] is None]
        if times:
            panel.axvline(min(times), color=colour, linewidth=1, linestyle=":", label=f"{label}, time only")
    panel.set_xlabel("measured latency (ms)")
    panel.set_ylabel("mIoU (%)")
    panel.set_xlim(left=0)
    panel.margins(y=0.15)
    quiet(panel)
    panel.legend(frameon=False, fontsize=9)
    return figure
