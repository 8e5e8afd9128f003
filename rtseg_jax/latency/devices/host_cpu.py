"""This machine's CPU."""

import functools
import importlib.metadata
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rtseg_jax.export.interpreter import load_interpreter
from rtseg_jax.latency.backend import WARMUP, FileBackend, Timing, processor_name
from rtseg_jax.latency.neighbour import Clock, Neighbour, nothing_to_do, undisturbed


class HostCpu(FileBackend):
    """This machine's CPU: LiteRT with XNNPACK.

    One thread is timed by the CPU time of that thread. On an idle machine that is wall time; on one that others use,
    wall time grows with every slice that the thread waits for, which no minimum removes from models that run longer
    than a slice. Runs that something else on the same core slows down are told by `Neighbour` and do not count.
    """

    name = "host_cpu"

    def __init__(self, threads: int = 1, runs: int = 15, warmup: int = WARMUP):
        self.threads, self.runs, self.warmup = threads, runs, warmup
        self.meanwhile: Callable[[], bool] = nothing_to_do

    def measure(self, model: bytes) -> Timing:
        """Times one model on random input."""
        interpreter = load_interpreter(model, self.threads)
        fill_inputs(interpreter)
        for _ in range(self.warmup):
            interpreter.invoke()
        return undisturbed(interpreter.invoke, self.runs, self._neighbour, self._cpu_time, self.meanwhile)

    @functools.cached_property
    def _neighbour(self) -> Neighbour:
        clock: Clock = time.thread_time if self._cpu_time else time.perf_counter
        return Neighbour(clock)

    @property
    def _cpu_time(self) -> bool:
        return self.threads == 1

    def card(self) -> dict[str, Any]:
        """Says what a figure means."""
        return {
            "device": processor_name(),
            "backend": self.name,
            "runtime": f"LiteRT {importlib.metadata.version('ai-edge-litert')}, XNNPACK",
            "precision": self.numbers("float32"),
            "threads": self.threads,
            "warmup": self.warmup,
            "runs": self.runs,
            "statistic": ("lower quartile" if self._cpu_time else "minimum") + " of undisturbed runs",
            "clock": "CPU time of the thread" if self._cpu_time else "wall time",
        }


def fill_inputs(interpreter: Any) -> None:
    """Gives a model random input of its own type."""
    generator = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        shape, dtype = detail["shape"], detail["dtype"]
        if np.issubdtype(dtype, np.integer):
            value = generator.integers(0, np.iinfo(dtype).max, shape, dtype)
        else:
            value = generator.standard_normal(shape, np.float32).astype(dtype)
        interpreter.set_tensor(detail["index"], value)
