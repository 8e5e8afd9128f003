"""The networks of a run in one table, for a terminal: at the end of the run, and whenever it is looked at again."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

Row = Mapping[str, Any]


def results_table(rows: Sequence[Row], target_ms: float | None, predicted: str = "ms", measured: str = "ms") -> Table:
    """Scores, costs and latencies; `predicted` and `measured` are units.

    Where scores are those of files in other numbers, the network's own score stands beside them.
    """
    table = Table(title=None if target_ms is None else f"Target {target_ms:.2f} {predicted}")
    last = "measured ms" if measured == "ms" else measured
    foreseen = [] if all(row["predicted_ms"] is None for row in rows) else [f"predicted {predicted}"]
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
    """Milliseconds, and how far off nine networks in ten are at most."""
    if row["predicted_ms"] is None:
        return _cell(None, 1.0, 2)
    _, high = row["predicted_interval_ms"]
    return f"{row['predicted_ms']:.2f} ±{100 * (high / row['predicted_ms'] - 1):.0f} %"


def _cell(value: float | int | None, factor: float, digits: int) -> str:
    return "–" if value is None else f"{factor * value:.{digits}f}"
