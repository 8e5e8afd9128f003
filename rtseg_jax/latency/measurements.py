"""Measurements on disk: one JSON line each, so that a sweep that was cut off goes on where it was."""

import dataclasses
import hashlib
import json
import statistics
from collections.abc import Mapping
from typing import Any

from rtseg_jax.architecture import declare, declare_spec
from rtseg_jax.architecture.decided import resize_block
from rtseg_jax.files import Place, append_line, read_rows
from rtseg_jax.latency.backend import Timing
from rtseg_jax.latency.fitting import Measured
from rtseg_jax.latency.subjects import Subject

CONDITIONS = ("device", "backend", "runtime", "precision", "threads", "statistic", "clock")


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a measurement comes from.

    Attributes:
      graph: hash of the file or program that was measured.
      date: day on which it was, as YYYY-MM-DD in UTC.
    """

    graph: str
    date: str


class Measurements:
    """The measurements of one device and runtime in a file that may hold those of others.

    Attributes:
      path: of the file.
      card: of the backend; what it says of device, runtime, precision and threads belongs to the identity of a row.
    """

    def __init__(self, path: Place, card: Mapping[str, Any]):
        self.path, self.card = path, card
        self._conditions = {name: card[name] for name in CONDITIONS}
        self._rows = {row["key"]: row for row in read_rows(path)}

    def key(self, subject: Subject) -> str:
        """Identifies a subject under these conditions."""
        text = json.dumps([subject.to_json(), self._conditions], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __contains__(self, subject: Subject) -> bool:
        return self.key(subject) in self._rows

    def timing(self, subject: Subject) -> Timing:
        """What was measured."""
        return Timing(**self._rows[self.key(subject)]["timing"])

    def append(self, subject: Subject, timing: Timing, origin: Origin) -> None:
        """Adds a row to the file."""
        row = {"key": self.key(subject), **subject.to_json(), "conditions": self._conditions}
        row |= {"timing": dataclasses.asdict(timing), **dataclasses.asdict(origin)}
        self._rows[row["key"]] = row
        append_line(self.path, json.dumps(row))

    def full_card(self, subjects: list[Subject]) -> dict[str, Any]:
        """The card, with what the rows of these subjects say: hash of all their graphs, dates, noise."""
        rows = [self._rows[key] for key in dict.fromkeys(map(self.key, subjects)) if key in self._rows]
        dates = sorted(row["date"] for row in rows)
        digest = hashlib.sha256("\n".join(row["graph"] for row in rows).encode()).hexdigest()
        return {
            **self.card,
            "runs": min(row["timing"]["runs"] for row in rows),
            "graphs": f"{digest} over {len(rows)} models",
            "date": dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}",
            "noise": statistics.median(row["timing"]["noise"] for row in rows),
        }

    def measured(self, subjects: list[Subject]) -> Measured:
        """The declarations and milliseconds of those subjects that are in the file."""
        present = [(subject, self.timing(subject).ms) for subject in subjects if subject in self]
        blocks = [(subject, ms) for subject, ms in present if subject.block is not None]
        networks = [(subject, ms) for subject, ms in present if subject.block is None]
        supernets = {subject.arch.network: None for subject, _ in blocks}
        named = {(spec, b.name): b for spec in supernets for b in declare(spec).plain_blocks}
        return Measured(
            blocks=[resize_block(named[s.arch.network, s.block or ""], s.arch.widths) for s, _ in blocks],
            block_sizes=[subject.image_size for subject, _ in blocks],
            block_ms=[ms for _, ms in blocks],
            networks=[declare_spec(subject.arch) for subject, _ in networks],
            network_sizes=[subject.image_size for subject, _ in networks],
            network_ms=[ms for _, ms in networks],
        )
