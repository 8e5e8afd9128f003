"""What a backend is that times models, and what it tells of its figures."""

import dataclasses
import hashlib
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from absl import logging

from rtseg_jax.architecture import Block
from rtseg_jax.errors import UserError
from rtseg_jax.export.spec import FLOAT32, JAX2TF, ExportSpec, quantization
from rtseg_jax.latency.subjects import Subject
from rtseg_jax.models.normalization import IMAGE_MEAN, IMAGE_STD

WARMUP = 3


@dataclasses.dataclass(frozen=True)
class Timing:
    """Latency of one model.

    Attributes:
      ms: what the device needs when nothing disturbs it; the card names the statistic.
      runs: how many were timed.
      noise: median of the runs over `ms`, minus one; of several rounds also the next-lowest's `ms` over the lowest's.
    """

    ms: float
    runs: int
    noise: float


Report = Callable[[int, int, str], None]
"""(models done, models in all, what comes next)."""


class Refused(UserError):
    """The device does not take a model; another one may."""


@runtime_checkable
class Backend(Protocol):
    """A device and a runtime that time models, in whatever form the runtime takes them."""

    name: str

    def build(self, subject: Subject) -> Any:
        """The model of a block or network, with random weights, ready to be measured."""

    def digest(self, model: Any) -> str:
        """Identifies what `build` made by its content."""

    def measure(self, model: Any) -> Timing:
        """Times one model on random input."""

    def card(self) -> dict[str, Any]:
        """Says what a figure means: device, runtime, precision, threads, warm-up, runs, statistic, clock."""


@runtime_checkable
class BatchBackend(Backend, Protocol):
    """A backend that wants to know models beforehand, such as one that sends them elsewhere."""

    def prepare(self, models: Sequence[Any], rounds: int) -> None:
        """Is called with the models that are measured next, in turns, each so many times."""


@runtime_checkable
class WaitingBackend(Backend, Protocol):
    """A backend that waits for quiet moments, and has other work done until they come.

    Attributes:
      meanwhile: does some of it, and says whether there was any; whoever measures may set it.
    """

    meanwhile: Callable[[], bool]


@runtime_checkable
class FollowedBackend(Backend, Protocol):
    """A backend that tells others how far a sweep is, and holds something until it is closed."""

    def following(self, report: Report) -> Report:
        """The report to call in the place of `report`, which it hands on to."""

    def close(self, finished: bool) -> None:
        """Ends it; `finished` says whether all was measured."""


def built_file(subject: Subject, converter: str, precision: str) -> bytes:
    """The file of a block or network, with random weights; imports TensorFlow where jax2tf writes it.

    Networks are in the form in which they are exported, those of float32 without the normalization of pictures.
    """
    from rtseg_jax.export import integer, tflite

    logging.set_verbosity(logging.ERROR)  # the converter greets at every model
    declared, image_size = subject.declare(), subject.image_size
    spec = ExportSpec(image_size, quantize=quantization(precision), converter=converter)
    if isinstance(declared, Block):
        if spec.integers:
            return integer.convert_random_block(declared, image_size, spec.quantize)
        return tflite.convert_block(declared, image_size, converter=spec.converter, quantize=spec.quantize)
    variables = tflite.random_variables(declared)
    normalization = None if precision == FLOAT32 else (IMAGE_MEAN, IMAGE_STD)
    write = integer.convert_random_network if spec.integers else tflite.convert_network
    return write(declared, variables, spec, normalization)


class FileBackend:
    """What backends share whose models are TFLite files.

    Attributes:
      converter: who writes them, one of `export.spec.CONVERTERS`.
      precision: their numbers, one of `export.spec.PRECISIONS`.
    """

    converter = JAX2TF
    precision = FLOAT32

    def build(self, subject: Subject) -> bytes:
        """See `built_file`."""
        return built_file(subject, self.converter, self.precision)

    def numbers(self, floats: str) -> str:
        """The card's `precision`, where the device computes on floating-point numbers in `floats`."""
        return floats if self.precision == FLOAT32 else f"{self.precision} files; floats: {floats}"

    def digest(self, model: bytes) -> str:
        """Hash of the file."""
        return hashlib.sha256(model).hexdigest()


CARD_FIELDS = ("device", "backend", "runtime", "precision", "threads", "warmup", "runs", "statistic", "clock")
"""What a backend tells of its figures."""

SWEEP_FIELDS = (*CARD_FIELDS, "image_size", "graphs", "date", "noise")
"""What must be known of a sweep for its predictor to be believed."""

NOISY = 0.05
"""Noise of a sweep's median model above which its device did something else; an idle Intel Xeon has 0.004."""

MODELLED = "modelled"
"""The statistic of figures that nobody measured."""


def noise_warning(card: Mapping[str, Any]) -> str:
    """What is to be said of a sweep whose device was not idle; empty where it was."""
    noise = card.get("noise", 0.0)  # versions before it was recorded
    if noise <= NOISY:
        return ""
    return (
        f"the device was busy while it was measured, times of the same model differ by {100 * noise:.0f} %; measure "
        "again when it does nothing else"
    )


def timing_of(seconds: list[float], cpu_time: bool = False) -> Timing:
    """Summary of timed runs: the minimum of wall time, or the lower quartile of CPU time.

    Virtual machines correct CPU time for what their host took away, sometimes by too much: a minimum would pick those.
    """
    seconds = sorted(second for second in seconds if second > 0)
    best = seconds[(len(seconds) - 1) // 4] if cpu_time else seconds[0]
    return Timing(best * 1e3, len(seconds), statistics.median(seconds) / best - 1.0)


def merged(rounds: Sequence[Timing]) -> Timing:
    """Timing of several rounds of the same model: the lowest counts, as noisy as it is, or as the next is above it."""
    lowest, second, *_ = sorted(rounds, key=lambda timing: timing.ms)
    return Timing(lowest.ms, sum(timing.runs for timing in rounds), max(lowest.noise, second.ms / lowest.ms - 1.0))


def processor_name() -> str:
    """Model of this machine's processor, as precisely as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    name = fields.get("model name", platform.processor() or platform.machine())
    model = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    return name + model


def unit_of(card: Mapping[str, Any]) -> str:
    """What to call the milliseconds of a card wherever they are shown."""
    return f"{MODELLED} ms" if card.get("statistic") == MODELLED else "ms"
