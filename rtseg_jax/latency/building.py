"""Building the models of a sweep, files by several processes at once."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import jax

from rtseg_jax.architecture import declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.latency.backend import Backend, FileBackend, built_file
from rtseg_jax.latency.subjects import Subject
from rtseg_jax.worker_processes import begin_worker

MOST = 4  # processes; each takes half a gigabyte, and more where TensorFlow converts
WORTH = 150  # blocks, those of networks included: what is built while such processes start

Build = Callable[[Sequence[Subject]], Iterable[Any]]
"""The models of subjects, in order."""


@contextlib.contextmanager
def building(backend: Backend, subjects: Sequence[Subject]) -> Iterator[tuple[Build, bool]]:
    """How a backend's models are built, and whether those of one call are built at the same time.

    Where files of many blocks are asked for, processes build them. They do nothing between two calls: whatever runs
    beside a timing may slow it down.
    """
    processes = min(MOST, os.cpu_count() or 1)
    if processes == 1 or not isinstance(backend, FileBackend) or sum(map(blocks_in, subjects)) < WORTH:
        yield lambda some: map(backend.build, some), False
        return
    build = functools.partial(built_file, converter=backend.converter, precision=backend.precision)
    try:
        # Spawned and not forked: a fork of a process with threads may hang.
        with ProcessPoolExecutor(processes, get_context("spawn"), _begin) as pool:
            yield functools.partial(pool.map, build), True
    except BrokenProcessPool as error:
        raise UserError(
            "a process that converts models was killed, perhaps for memory; what was measured is kept: start again"
        ) from error


def _begin() -> None:
    begin_worker()
    jax.config.update("jax_platforms", "cpu")  # an accelerator's memory is for whoever computes


def blocks_in(subject: Subject) -> int:
    """How many blocks a subject has: what it costs to build and to keep."""
    return 1 if subject.block else len(declare_spec(subject.arch).plain_blocks)
