"""One network at one size on one device: what was asked for, and what came out; a file each."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtseg_jax.architecture import ArchSpec, counts, declare_spec
from rtseg_jax.benchmark_tflite import Latency
from rtseg_jax.errors import UserError
from rtseg_jax.files import write_json

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a survey measures.

    Attributes:
      device: of the latency lab.
      threads: of the runtime.
      passes: timed, of each network at each size.
      most_seconds: fewer passes, `FEWEST` at least, where all of them would take longer, as a smaller size tells; the
        smallest has all. 0: never fewer.
      slowest_seconds: sizes at which a pass would take longer are left out; 0: none.
    """

    device: str
    threads: int = 1
    passes: int = 100
    most_seconds: float = 0.0
    slowest_seconds: float = 0.0


FEWEST = 5
"""Passes, however slow a network is."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What became of a network at a size.

    Attributes:
      network: name of the entrant.
      architecture: digest of its `ArchSpec`.
      size: height and width.
      asked: the protocol.
      parameters: of the inference network.
      gmacs: at this size.
      passes: that were timed.
      latencies: by every clock; that of the table is the last.
      refused: why the device does not take the network, with the operator; None where it does.
      left_out: why it was not measured; None where it was.
      notes: which parts of the graph a delegate took.
      card: of the device.
      date: of the measurement, as YYYY-MM-DD in UTC.
    """

    network: str
    architecture: str
    size: Size
    asked: Protocol
    parameters: int
    gmacs: float
    passes: int = 0
    latencies: tuple[Latency, ...] = ()
    refused: str | None = None
    left_out: str | None = None
    notes: tuple[str, ...] = ()
    card: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    date: str = ""

    @property
    def latency(self) -> Latency | None:
        """By the clock of the table: CPU time where one thread was timed by it, else wall time."""
        return self.latencies[-1] if self.latencies else None

    @property
    def fps(self) -> float | None:
        """Pictures per second, by the mean of the passes."""
        return None if self.latency is None else 1e3 / self.latency.mean_ms

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Row":
        """Inverse of `to_json`."""
        return Row(
            **{
                **value,
                "size": tuple(value["size"]),
                "asked": Protocol(**value["asked"]),
                "latencies": tuple(Latency(**latency) for latency in value["latencies"]),
                "notes": tuple(value["notes"]),
            }
        )

    def save(self, out: Path) -> None:
        """Writes the row whole or not at all."""
        write_json(path_of(out, self.asked.device, self.network, self.size), self.to_json())


def empty_row(network: str, arch: ArchSpec, size: Size, asked: Protocol) -> Row:
    """What is known before anything is measured."""
    declared = declare_spec(arch)
    return Row(network, arch.digest, size, asked, counts.parameters(declared), counts.macs(declared, size) / 1e9)


def find_row(out: Path, wanted: Row) -> Row | None:
    """The row on disk of the same network, size and protocol; None where there is none.

    Raises:
      UserError: the file is damaged.
    """
    path = path_of(out, wanted.asked.device, wanted.network, wanted.size)
    if not path.exists():
        return None
    try:
        row = Row.from_json(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a row of a survey ({error!r}); remove it, and it is measured again") from error
    # How slow a network may be matters to those that were left out for it.
    asked = row.asked if row.left_out else dataclasses.replace(row.asked, slowest_seconds=wanted.asked.slowest_seconds)
    return row if (row.architecture, asked) == (wanted.architecture, wanted.asked) else None


def path_of(out: Path, device: str, network: str, size: Size) -> Path:
    """File of a row; sizes are written as the survey does, width first."""
    return out / "rows" / device / f"{network}_{size_text(size)}.json"


def size_text(size: Size) -> str:
    """WIDTHxHEIGHT."""
    return f"{size[1]}x{size[0]}"
