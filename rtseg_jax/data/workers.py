"""Batches read ahead by threads, in this process or in worker processes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from rtseg_jax.data.quiet_grain import grain
from rtseg_jax.errors import UserError
from rtseg_jax.worker_processes import begin_worker


def read_ahead(batches: "grain.MapDataset", num_threads: int, num_workers: int) -> Iterator[Any]:
    """The batches in their order. Closing the iterator, or dropping it, ends its workers.

    Threads are shared out among the workers; 0 threads prepare a batch when it is asked for. A worker's error is raised
    here as what it was; a worker that the system ends raises a `UserError`.
    """
    threads = -(-num_threads // max(1, num_workers))
    examples = batches.to_iter_dataset(read_options(threads))
    if num_workers:
        options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
        examples = examples.mp_prefetch(options, worker_init_fn=_begin_worker)
        # Out of shared memory: there is little of it in many containers, and whoever holds a batch would hold it.
        examples = examples.map(_copied)
    return _closed_at_the_end(iter(examples))


def read_options(num_threads: int) -> "grain.ReadOptions":
    """So many threads of one process, each a batch ahead."""
    return grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(2, num_threads) if num_threads else 0)


def _copied(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in batch.items()}


def _closed_at_the_end(batches: Any) -> Iterator[Any]:
    with contextlib.closing(batches):
        try:
            yield from batches
        except RuntimeError as error:
            if "Worker process was terminated" not in str(error):
                raise
            code = str(error).partition("exit code ")[2].partition(".")[0]
            raise UserError(
                f"a process that reads pictures was ended from outside (exit code {code}), most often for lack of "
                "memory or of /dev/shm; lower config.train.num_workers, num_threads or config.data.cache_gib"
            ) from error


def _begin_worker(index: int, count: int) -> None:
    begin_worker()
    cv2.setNumThreads(1)  # the workers are what runs in parallel
