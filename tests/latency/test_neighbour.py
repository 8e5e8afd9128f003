"""Timing beside a neighbour: a processor whose speed follows a plan, and a clock that only it moves."""

import itertools
from collections.abc import Callable, Sequence

import pytest

from rtseg_jax.latency import neighbour
from rtseg_jax.latency.backend import Timing
from rtseg_jax.latency.neighbour import Neighbour, nothing_to_do, undisturbed


class Processor:
    """A model of so many milliseconds on a processor that is `slow[i]` slower in moment i, the last from then on."""

    def __init__(self, ms: float, slow: Sequence[float]):
        self.ms, self.now, self.runs = ms, 0.0, 0
        self._slow = itertools.chain(slow, itertools.repeat(slow[-1]))
        self._next = next(self._slow)

    def clock(self) -> float:
        return self.now

    def run(self) -> None:
        self.runs += 1
        self.now += self.ms * (1 + self._next) / 1e3

    def slows(self) -> float:
        """A look ends a moment."""
        seen, self._next = self._next, next(self._slow)
        return seen

    def timing(self, runs: int, meanwhile: Callable[[], bool] = nothing_to_do) -> Timing:
        found = undisturbed(self.run, runs, self, cpu_time=False, meanwhile=meanwhile)
        return Timing(round(found.ms, 9), found.runs, round(found.noise, 9))


def test_a_run_counts_between_two_quiet_looks():
    loud_once = Processor(4.0, [0.0, 0.0, 1.0, 0.0])  # the first is the look before the first run
    assert loud_once.timing(3) == Timing(4.0, 3, 0.0)
    assert loud_once.runs == 5  # but for the disturbed one and the one behind it


def test_short_models_run_several_times_between_two_looks():
    short = Processor(0.4, [0.0, 0.0, 1.0, 0.0])
    assert short.timing(3) == Timing(0.4, 15, 0.0)  # threes; 13 of them take 5 ms
    assert short.runs == 15 + 2 + 3  # loud ones are two at a time


@pytest.mark.parametrize(
    ("slow", "expected"),
    [
        ([1.0], Timing(8.0, 23, 1.0)),  # 0.18 s without a quiet moment: all of them, and what they are worth
        ([0.0, 0.0, 1.0], Timing(4.0, 1, 1.0)),  # one quiet run says more than 22 others, but nobody confirms it
        ([0.2], Timing(4.8, 3, 0.0)),  # clocks of idle processors wander
    ],
)
def test_patience_has_an_end(slow: list[float], expected: Timing):
    assert Processor(4.0, slow).timing(3) == expected


def test_long_models_run_as_often_as_asked():
    assert Processor(200.0, [1.0]).timing(5) == Timing(400.0, 5, 1.0)


def test_other_work_is_done_while_the_processor_is_slow():
    work = []
    waits = Processor(4.0, [0.0, 1.0, 1.0, 1.0, 1.0, 0.0])

    def meanwhile() -> bool:
        if len(work) == 2:
            return False
        waits.now += 9.0  # far longer than its patience
        work.append(waits.runs)
        return True

    assert waits.timing(3, meanwhile) == Timing(4.0, 3, 0.0)
    # Each run in a slow moment is followed by work while there is some, and that by one that counts for nothing.
    assert work == [1, 3]
    assert waits.runs == 2 * 2 + 1 + 3


def test_other_work_has_to_wait_for_a_quiet_processor():
    def meanwhile() -> bool:
        raise AssertionError("was done between two runs that count")

    assert Processor(4.0, [0.2, 0.0]).timing(3, meanwhile) == Timing(4.0, 3, 0.0)


def test_slow_downs_are_against_the_quietest_time_that_was_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neighbour, "LOOKS", 4)
    monkeypatch.setattr(neighbour, "SOME", 0.25)  # the second lowest of four
    lasts = [2.0, 2.0, 0.1, 4.0, *(3.0, 1.0, 0.1, 1.0), *(2.0, 0.5, 9.0, 5.0), *(1.0,)]
    clock = iter([moment for start, last in enumerate(lasts) for moment in (10.0 * start, 10.0 * start + last)])
    watch = Neighbour(lambda: next(clock))
    slowed = [watch.slows() for _ in range(6)]
    # 3 and again, 1: no slower than 2. 0.1. 1, the fourth look, from which on 1 is the quietest time. 2 and again, 0.5.
    # 9 and again, 5. 1.
    assert slowed == pytest.approx([0.0, 0.0, 0.0, 0.0, 4.0, 0.0])
    assert next(clock, None) is None
