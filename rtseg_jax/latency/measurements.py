"""Measurements on disk: one JSON line each, so that a sweep that was cut off goes on where it was."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtseg_jax.architecture import ArchSpec, NetworkSpec, declare, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.latency.backends import Timing
from rtseg_jax.latency.fitting import Measured
from rtseg_jax.latency.sampling import resize_block

CONDITIONS = ("device", "backend", "runtime", "precision", "threads", "statistic", "clock")


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured: a block at some widths, or a whole network where `block` is None.

    Attributes:
      arch: the network's architecture; of a block only `network` and the widths of its own groups.
      block: name of the block in the supernet.
    """

    arch: ArchSpec
    block: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return {"arch": self.arch.to_json(), "block": self.block}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Subject":
        """Inverse of `to_json`."""
        return Subject(ArchSpec.from_json(value["arch"]), value["block"])


def block_subject(spec: NetworkSpec, block: str, widths: Mapping[str, int]) -> Subject:
    """A block of the supernet of `spec` at some widths."""
    return Subject(ArchSpec(spec, widths, {}), block)


class Measurements:
    """The measurements of one device, runtime and image size in a file that may hold those of others.

    Attributes:
      path: of the file.
      card: of the backend; what it says of device, runtime, precision and threads belongs to the identity of a row.
      image_size: height and width of the networks' input.
    """

    def __init__(self, path: Path, card: Mapping[str, Any], image_size: tuple[int, int]):
        self.path, self.card, self.image_size = path, card, image_size
        self._conditions = {**{name: card[name] for name in CONDITIONS}, "image_size": list(image_size)}
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

    def append(self, subject: Subject, timing: Timing) -> None:
        """Adds a row to the file."""
        row = {"key": self.key(subject), **subject.to_json(), "conditions": self._conditions}
        row["timing"] = dataclasses.asdict(timing)
        self._rows[row["key"]] = row
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def measured(self, subjects: list[Subject]) -> Measured:
        """The declarations and milliseconds of those subjects that are in the file."""
        present = [(subject, self.timing(subject).ms) for subject in subjects if subject in self]
        blocks = [(subject, ms) for subject, ms in present if subject.block is not None]
        networks = [(subject, ms) for subject, ms in present if subject.block is None]
        supernets = {subject.arch.network: None for subject, _ in blocks}
        named = {(spec, b.name): b for spec in supernets for b in declare(spec).plain_blocks}
        return Measured(
            blocks=[resize_block(named[s.arch.network, s.block or ""], s.arch.widths) for s, _ in blocks],
            block_ms=[ms for _, ms in blocks],
            networks=[declare_spec(subject.arch) for subject, _ in networks],
            network_ms=[ms for _, ms in networks],
            image_size=self.image_size,
        )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file; a last line that was cut off by a crash is dropped from it."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise UserError(f"{path}:{number}: not a measurement ({error}); remove the line") from error
            path.write_text("".join(lines[:-1]))
    return rows
