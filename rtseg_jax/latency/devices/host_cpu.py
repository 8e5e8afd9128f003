"""This machine's CPU."""

import importlib.metadata
import time
from typing import Any

import numpy as np

from rtseg_jax.export.interpreter import load_interpreter
from rtseg_jax.latency.backend import WARMUP, FileBackend, Timing, processor_name, timing_of

MEASURED_MS = 15.0  # shorter models are repeated until this much has been timed


class HostCpu(FileBackend):
    """This machine's CPU: LiteRT with XNNPACK.

    One thread is timed by the CPU time of that thread. On an idle machine that is wall time; on one that others use,
    wall time grows with every slice that the thread waits for, which no minimum removes from models that run longer
    than a slice.
    """

    name = "host_cpu"

    def __init__(self, threads: int = 1, runs: int = 15, warmup: int = WARMUP):
        self.threads, self.runs, self.warmup = threads, runs, warmup

    def measure(self, model: bytes) -> Timing:
        """Times one model on random input."""
        interpreter = load_interpreter(model, self.threads)
        fill_inputs(interpreter)
        for _ in range(self.warmup):
            interpreter.invoke()
        clock = time.thread_time if self._cpu_time else time.perf_counter
        seconds: list[float] = []
        while len(seconds) < self.runs or sum(seconds) * 1e3 < MEASURED_MS:
            start = clock()
            interpreter.invoke()
            seconds.append(clock() - start)
        return timing_of(seconds, self._cpu_time)

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
            "statistic": "lower quartile" if self._cpu_time else "minimum",
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
