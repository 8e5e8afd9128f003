"""The networks of a run in one table, for a terminal: at the end of the run, and whenever it is looked at again."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

Row = Mapping[str, Any]


def results_table(rows: Sequence[Row], target: float | None, unit: str, measured: str = "ms") -> Table:
    """Scores, costs and latencies; `unit` is that of the target and of predictions, `measured` that of latencies.

    Where scores are those of files in other numbers, the network's own score stands beside them.
    """
    table = Table(title=None if target is None else f"Target {target:.2f} {unit}")
    last = "measured ms" if measured == "ms" else measured
    foreseen = [] if all(row["predicted_cost"] is None for row in rows) else [f"predicted {unit}"]
    rounded = [] if all(row.get("float32_miou") is None for row in rows) else ["in float32 %"]
    for column in ("network", "mIoU %", *rounded, "params M", "GMACs", *foreseen, last):
        table.add_column(column, justify="left" if column == "network" else "right", no_wrap=column == "network")
    for row in rows:
        table.add_row(
            row["name"],
            _cell(row["miou"], 100.0, 1),
            *(_cell(row.get("float32_miou"), 100.0, 1) for _ in rounded),
            _cell(row["parameters"], 1e-6, 3),
            _cell(row["gmacs"], 1.0, 3),
            *(_predicted(row) for _ in foreseen),
            _cell(row["latency_ms"], 1.0, 2),
        )
    return table


def _predicted(row: Row) -> str:
    """The cost, and how far off nine networks in ten are at most."""
    if row["predicted_cost"] is None:
        return _cell(None, 1.0, 2)
    _, high = row["predicted_interval"]
    return f"{row['predicted_cost']:.2f} ±{100 * (high / row['predicted_cost'] - 1):.0f} %"


def _cell(value: float | int | None, factor: float, digits: int) -> str:
    return "–" if value is None else f"{factor * value:.{digits}f}"
