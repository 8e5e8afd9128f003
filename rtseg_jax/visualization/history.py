"""A run's history: one JSON object per line, put on one time axis.

A row has `phase` and `step` and whatever was measured then: `losses` {name: value}, `cost` (predicted, of the network
under search, in `cost_unit`), `miou` (share in [0, 1]), `kept` {group: [kept, total]}, `paths` {block: [p_skip, p_lir,
p_mhsa]}. A plot uses the rows that have what it shows.
"""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from rtseg_jax.files import Place, place, whole_lines

Row = dict[str, Any]

EARLIER_NAMES = {"latency_ms": "cost"}
"""Names in rows of earlier versions, and what they are now."""


def read_history(path: str | Place) -> list[Row]:
    """Rows of a JSON-lines file, empty if there is none yet."""
    # Only complete lines: the last one may be in the middle of being written.
    rows = (json.loads(line) for line in whole_lines(place(path)) if line.strip())
    return [{EARLIER_NAMES.get(name, name): value for name, value in row.items()} for row in rows]


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Rows in order with their position on an axis that puts the phases one after the other."""

    points: tuple[tuple[int, Row], ...]
    spans: dict[str, tuple[int, int]]
    """Where each phase begins and ends."""

    def names(self, key: str) -> list[str]:
        """The names that occur under `key` in any row, in the order of their first row."""
        return list(dict.fromkeys(name for _, row in self.points for name in row.get(key, ())))

    def series(self, *keys: str, phase: str | None = None) -> tuple[list[int], list[Any]]:
        """Positions and values of the rows (of one phase) that have a value at `row[keys[0]][keys[1]]…`."""
        pairs = [(x, _lookup(row, keys)) for x, row in self.points if phase in (None, row["phase"])]
        return [x for x, value in pairs if value is not None], [value for _, value in pairs if value is not None]


def timeline(history: Iterable[Row]) -> Timeline:
    """Order rows by phase (as first seen) and by step, which counts from the beginning of its phase.

    Rows of the same step are joined. After a resume a step may be there twice: the later value holds.
    """
    phases: dict[str, dict[int, Row]] = {}
    for row in history:
        steps = phases.setdefault(row["phase"], {})
        steps[row["step"]] = steps.get(row["step"], {}) | row
    points, spans, offset = [], {}, 0
    for phase, steps in phases.items():
        spans[phase] = (offset, offset + max(steps))
        points += [(offset + step, steps[step]) for step in sorted(steps)]
        offset += max(steps)
    return Timeline(tuple(points), spans)


def _lookup(row: Row, keys: Iterable[str]) -> Any:
    value: Any = row
    for key in keys:
        value = None if value is None else value.get(key)
    return value
