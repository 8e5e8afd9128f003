"""Where models are timed."""

import dataclasses
import difflib
import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rtseg_jax.errors import UserError
from rtseg_jax.export.interpreter import load_interpreter

MEASURED_MS = 15.0  # shorter models are repeated until this much has been timed
WARMUP = 3


@dataclasses.dataclass(frozen=True)
class Timing:
    """Latency of one model.

    Attributes:
      ms: what the device needs when nothing disturbs it; the card names the statistic.
      runs: how many were timed.
      noise: median of the runs over `ms`, minus one.
    """

    ms: float
    runs: int
    noise: float


@runtime_checkable
class Backend(Protocol):
    """A device and a runtime that time TFLite models."""

    name: str

    def measure(self, model: bytes) -> Timing:
        """Times one model on random input."""

    def card(self) -> dict[str, Any]:
        """Says what a figure means: device, runtime, precision, threads, warm-up, runs, statistic, clock."""


CARD_FIELDS = ("device", "backend", "runtime", "precision", "threads", "warmup", "runs", "statistic", "clock")


def timing_of(seconds: list[float], cpu_time: bool = False) -> Timing:
    """Summary of timed runs: the minimum of wall time, or the lower quartile of CPU time.

    Virtual machines correct CPU time for what their host took away, sometimes by too much: a minimum would pick those.
    """
    seconds = sorted(second for second in seconds if second > 0)
    best = seconds[(len(seconds) - 1) // 4] if cpu_time else seconds[0]
    return Timing(best * 1e3, len(seconds), statistics.median(seconds) / best - 1.0)


def merge(first: Timing, second: Timing) -> Timing:
    """Timing of two rounds of the same model."""
    return Timing(min(first.ms, second.ms), first.runs + second.runs, max(first.noise, second.noise))


class HostCpu:
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
        generator = np.random.default_rng(0)
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], generator.standard_normal(detail["shape"], np.float32))
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
            "precision": "float32",
            "threads": self.threads,
            "warmup": self.warmup,
            "runs": self.runs,
            "statistic": "lower quartile" if self._cpu_time else "minimum",
            "clock": "CPU time of the thread" if self._cpu_time else "wall time",
        }


def processor_name() -> str:
    """Model of this machine's processor, as precisely as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    name = fields.get("model name", platform.processor() or platform.machine())
    model = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    return name + model


BACKENDS: dict[str, Callable[[int, int], Backend]] = {
    HostCpu.name: HostCpu,
}


def make_backend(device: str, threads: int, runs: int) -> Backend:
    """The backend of a device; raises `UserError` for an unknown one."""
    if device not in BACKENDS:
        near = difflib.get_close_matches(device, BACKENDS, n=1, cutoff=0.0)
        raise UserError(f"latency.device is {device!r}, which is unknown; did you mean {near[0]!r}?")
    return BACKENDS[device](threads, runs)
