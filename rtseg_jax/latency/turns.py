"""The models of a sweep: built, some of them ahead, and measured in turns."""

import collections
import datetime
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rtseg_jax.latency.backend import Backend, BatchBackend, Timing, WaitingBackend, merged
from rtseg_jax.latency.building import Build, blocks_in, building
from rtseg_jax.latency.measurements import Origin
from rtseg_jax.latency.subjects import Subject

ROUNDS = 3  # models take turns, so that a slow minute of the machine hits all of them alike
MOST_ROUNDS = 12  # of a model whose rounds do not agree
AGREED = 0.02  # relative difference up to which they do; on an idle Intel Xeon it is 0.004
BATCH = 8  # models that take turns
MOST_AHEAD = 128  # blocks whose models wait, those of networks included: some seconds of building

Told = Callable[[int, str], None]
"""(subjects built, what is built next)."""


def measure(backend: Backend, subjects: Sequence[Subject], report: Told) -> Iterator[tuple[Subject, Timing, Origin]]:
    """Builds and measures, a batch at a time; a backend that waits for quiet moments has later ones built meanwhile."""
    with building(backend, subjects) as (build, at_once):
        line = Line(subjects, build, BATCH if at_once else 1, report)
        if isinstance(backend, WaitingBackend):
            backend.meanwhile = line.build_ahead
        for start in range(0, len(subjects), BATCH):
            batch = subjects[start : start + BATCH]
            models = [line.next() for _ in batch]
            date = datetime.datetime.now(datetime.UTC).date().isoformat()
            origins = [Origin(backend.digest(model), date) for model in models]
            yield from zip(batch, in_turns(backend, models), origins, strict=True)


class Line:
    """The models of subjects, in order; each is built when it is asked for, or before.

    Attributes:
      subjects: whose models these are.
      build: builds some.
      number: so many at a time.
      report: is told of each.
    """

    def __init__(self, subjects: Sequence[Subject], build: Build, number: int, report: Told):
        self.subjects, self.build, self.number, self.report = subjects, build, number, report
        self._built = 0
        self._waiting: collections.deque[tuple[int, Any]] = collections.deque()

    def next(self) -> Any:
        """The model of the next subject."""
        if not self._waiting:
            self._build()
        return self._waiting.popleft()[1]

    def build_ahead(self) -> bool:
        """Builds some that are not asked for yet; says whether there were any, and room for them."""
        room = MOST_AHEAD - sum(blocks for blocks, _ in self._waiting)
        if not self._chosen() or sum(map(blocks_in, self._chosen())) > room:
            return False
        self._build()
        return True

    def _chosen(self) -> Sequence[Subject]:
        return self.subjects[self._built : self._built + self.number]

    def _build(self) -> None:
        chosen = self._chosen()
        models = iter(self.build(chosen))
        for subject in chosen:
            self.report(self._built, subject.block or "whole network")
            self._waiting.append((blocks_in(subject), next(models)))
            self._built += 1


def in_turns(backend: Backend, models: list[Any]) -> list[Timing]:
    """Timings of models that were measured one after the other, several times over.

    Where a model's rounds do not agree it is measured again, unless the backend has to be told beforehand.
    """
    most = MOST_ROUNDS
    if isinstance(backend, BatchBackend):
        backend.prepare(models, most := ROUNDS)
    rounds: list[list[Timing]] = [[] for _ in models]
    for number in range(most):
        for model, seen in zip(models, rounds, strict=True):
            if number < ROUNDS or not agree(seen):
                seen.append(backend.measure(model))
    return [merged(seen) for seen in rounds]


def agree(rounds: Sequence[Timing]) -> bool:
    """Whether the lowest is no accident: each round loads the model anew, into memory that may be faster or slower."""
    lowest, _, third, *_ = sorted(rounds, key=lambda timing: timing.ms)
    return max(lowest.noise, third.ms / lowest.ms - 1.0) <= AGREED
