"""Timing on a processor that others use too."""

import dataclasses
import statistics
from collections.abc import Callable, Iterator

from rtseg_jax.latency.backend import Timing, timing_of

LENGTH = 1500  # steps of the loop; about a tenth of a millisecond
LOOKS = 2000  # a fifth of a second or more
SOME = 0.05  # of the looks, which are believed to be quiet; single ones may be too short where CPU time is corrected
QUIET = 0.25  # slow-down up to which runs count; an idle processor's is below 0.1, a shared core's 0.7 and more

BETWEEN_S = 1e-3  # of runs between two looks, unless one alone takes longer
COUNTED_S = 5e-3  # of runs that count, at least: short models run more often than asked
PATIENCE_S = 0.06  # of runs, for each that is to count, after which no quiet moment is waited for any longer

Clock = Callable[[], float]
"""Seconds."""


class Neighbour:
    """Tells how much slower than at its best this processor is, by a loop of fixed length.

    Two threads of one core share its units: either takes up to twice as long while the other works. Neither loses CPU
    time by it, so that no clock shows it. The processors of a virtual machine often are such threads, and the other
    ones of their cores belong to somebody else.
    """

    def __init__(self, clock: Clock):
        self.clock = clock
        self._best = _low([self._seconds() for _ in range(LOOKS)])
        self._recent: list[float] = []

    def slows(self) -> float:
        """Relative slow-down against the quietest time that was seen, 0 or more.

        What seems slow is looked at twice, and the lesser counts: an interrupt delays one look, a neighbour both.
        """
        first = self._look()
        return first if first <= QUIET else min(first, self._look())

    def _look(self) -> float:
        seconds = self._seconds()
        self._recent.append(seconds)
        if len(self._recent) == LOOKS:
            self._best = min(self._best, _low(self._recent))
            self._recent.clear()
        return max(0.0, seconds / self._best - 1.0)

    def _seconds(self) -> float:
        start = self.clock()
        total = 0
        for i in range(LENGTH):
            total += i * i
        return self.clock() - start


def _low(seconds: list[float]) -> float:
    return sorted(seconds)[int(SOME * len(seconds))]


def nothing_to_do() -> bool:
    """There is no other work."""
    return False


def undisturbed(
    run: Callable[[], object],
    runs: int,
    neighbour: Neighbour,
    cpu_time: bool,
    meanwhile: Callable[[], bool] = nothing_to_do,
) -> Timing:
    """Timing of a model by its runs in quiet moments.

    Where there are too few for too long those count, or all if there are none, and the timing is as noisy as the
    processor was slow.

    Args:
      run: runs the model once.
      runs: how many are to count, at least.
      neighbour: looks between the runs, and whose clock it is.
      cpu_time: whether that is one of CPU time; see `timing_of`.
      meanwhile: does some other work and says whether there was any; called where the processor is slow.
    """
    counted: list[float] = []
    every: list[float] = []
    looks = [neighbour.slows()]
    for seconds in _bursts(run, neighbour.clock):
        looks.append(neighbour.slows())
        every += seconds
        quiet = max(looks[-2:]) <= QUIET
        if quiet:
            counted += seconds
        if _enough(counted, runs, COUNTED_S):
            return timing_of(counted, cpu_time)
        if _enough(every, runs, PATIENCE_S * runs):
            break
        if not quiet and meanwhile():
            run()  # its memory may have left the caches
            looks.append(neighbour.slows())
    found = timing_of(counted or every, cpu_time)
    return dataclasses.replace(found, noise=max(found.noise, statistics.median(looks)))


def _enough(seconds: list[float], runs: int, in_all: float) -> bool:
    return len(seconds) >= runs and sum(seconds) >= in_all


def _bursts(run: Callable[[], object], clock: Clock) -> Iterator[list[float]]:
    """Seconds of runs, as many at a time as belong between two looks."""
    while True:
        seconds: list[float] = []
        while sum(seconds) < BETWEEN_S:
            start = clock()
            run()
            seconds.append(clock() - start)
        yield seconds
