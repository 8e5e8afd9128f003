"""Where models are timed."""

import dataclasses
import difflib
import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rtseg_jax.errors import UserError

MEASURED_MS = 15.0  # shorter models are repeated until this much has been timed
WARMUP = 3


@dataclasses.dataclass(frozen=True)
class Timing:
    """Latency of one model.

    Attributes:
      ms: the minimum of the runs: what the device needs when nothing disturbs it.
      runs: how many were timed.
      noise: median over minimum, minus one.
    """

    ms: float
    runs: int
    noise: float


class Backend(Protocol):
    """A device and a runtime that time TFLite models."""

    name: str

    def measure(self, model: bytes) -> Timing:
        """Times one model on random input."""

    def card(self) -> dict[str, Any]:
        """Says what a figure means: device, runtime, precision, threads, warm-up, runs, statistic."""


CARD_FIELDS = ("device", "backend", "runtime", "precision", "threads", "warmup", "runs", "statistic")


def timing_of(seconds: list[float]) -> Timing:
    """Summary of timed runs."""
    best = min(seconds)
    return Timing(best * 1e3, len(seconds), statistics.median(seconds) / best - 1.0)


def merge(first: Timing, second: Timing) -> Timing:
    """Timing of two rounds of the same model."""
    return Timing(min(first.ms, second.ms), first.runs + second.runs, max(first.noise, second.noise))


class HostCpu:
    """This machine's CPU: LiteRT with XNNPACK."""

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
        seconds: list[float] = []
        while len(seconds) < self.runs or sum(seconds) * 1e3 < MEASURED_MS:
            start = time.perf_counter()
            interpreter.invoke()
            seconds.append(time.perf_counter() - start)
        return timing_of(seconds)

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
            "statistic": "minimum",
        }


def load_interpreter(model: bytes, threads: int = 1) -> Any:
    """A LiteRT interpreter, ready to run."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  (takes a second that most users never need)

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


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
