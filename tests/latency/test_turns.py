"""Models of a sweep: which are built when, and that whoever waits has others built meanwhile."""

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest
from latency.synthetic import SIZE, SPEC

from rtseg_jax.latency import turns
from rtseg_jax.latency.backend import Timing, WaitingBackend
from rtseg_jax.latency.building import Build
from rtseg_jax.latency.devices.host_cpu import HostCpu
from rtseg_jax.latency.sampling import sample_blocks, sample_networks
from rtseg_jax.latency.subjects import Subject

SUBJECTS = [*sample_blocks(SPEC, SIZE, 5, seed=0), Subject(sample_networks(SPEC, 1, seed=0)[0], SIZE)]


@dataclasses.dataclass
class Recorder:
    """A backend whose models are their places in `SUBJECTS`, and which notes what it is asked for, a letter each."""

    name = "recorder"
    notes: str = ""

    def build(self, subject: Subject) -> int:
        self.notes += f"b{SUBJECTS.index(subject)} "
        return SUBJECTS.index(subject)

    def digest(self, model: int) -> str:
        return f"digest of {model}"

    def measure(self, model: int) -> Timing:
        self.notes += f"m{model} "
        return Timing(1.0 + model, 1, 0.0)

    def card(self) -> dict:
        return {}


class Waiting(Recorder):
    """One that finds the processor busy whenever it measures."""

    def meanwhile(self) -> bool:
        raise AssertionError("is replaced")

    def measure(self, model: int) -> Timing:
        self.meanwhile()
        return super().measure(model)


@contextlib.contextmanager
def together(backend: Recorder, subjects: list[Subject]) -> Iterator[tuple[Build, bool]]:
    yield lambda some: map(backend.build, some), True


@pytest.mark.parametrize(
    ("backend", "how", "expected"),
    [
        (Recorder(), turns.building, "b0 b1 m0 m1 m0 m1 b2 b3 m2 m3 m2 m3 b4 b5 m4 m5 m4 m5 "),
        # One ahead at a time, three at most; the network has more blocks than that.
        (Waiting(), turns.building, "b0 b1 b2 m0 b3 m1 b4 m0 m1 m2 m3 m2 m3 b5 m4 m5 m4 m5 "),
        # A batch at a time, the network's among them.
        (Recorder(), together, "b0 b1 m0 m1 m0 m1 b2 b3 m2 m3 m2 m3 b4 b5 m4 m5 m4 m5 "),
        (Waiting(), together, "b0 b1 b2 b3 m0 m1 m0 m1 m2 m3 m2 m3 b4 b5 m4 m5 m4 m5 "),
    ],
)
def test_whoever_waits_builds_ahead(backend: Recorder, how, expected: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in {"building": how, "ROUNDS": 2, "MOST_ROUNDS": 2, "BATCH": 2, "MOST_AHEAD": 3}.items():
        monkeypatch.setattr(turns, name, value)
    told: list[tuple[int, str]] = []
    found = list(turns.measure(backend, SUBJECTS, lambda *call: told.append(call)))
    assert backend.notes == expected
    assert told == [(i, subject.block or "whole network") for i, subject in enumerate(SUBJECTS)]
    assert [subject for subject, _, _ in found] == SUBJECTS
    assert [(timing.ms, timing.runs) for _, timing, _ in found] == [(1.0 + i, 2) for i in range(6)]
    assert [origin.graph for _, _, origin in found] == [f"digest of {i}" for i in range(6)]


def test_this_machines_processor_is_waited_for():
    assert isinstance(HostCpu(), WaitingBackend)
    assert not isinstance(Recorder(), WaitingBackend)
