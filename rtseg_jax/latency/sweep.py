"""Measuring blocks and networks. Backends of TFLite files import TensorFlow: run it in a child process."""

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rtseg_jax.architecture import ArchSpec, NetworkSpec, declare
from rtseg_jax.latency.backends import Backend, BatchBackend, Timing, make_backend, merge
from rtseg_jax.latency.fitting import fit
from rtseg_jax.latency.measurements import Measurements, Origin
from rtseg_jax.latency.predictor import LatencyModel
from rtseg_jax.latency.sampling import sample_blocks, sample_networks
from rtseg_jax.latency.spec import LatencySpec
from rtseg_jax.latency.subjects import Subject, block_subject

ROUNDS = 3  # models take turns, so that a slow minute of the machine hits all of them alike
BATCH = 8  # models that take turns

Report = Callable[[int, int, str], None]
"""(models done, models in all, what comes next)."""


def sweep(network_spec: NetworkSpec, spec: LatencySpec, out_dir: Path, report: Report) -> LatencyModel:
    """Measures what is missing in `out_dir/measurements.jsonl`, fits, and writes `out_dir/predictor.json`."""
    out_dir.mkdir(parents=True, exist_ok=True)
    backend = backend_of(spec)
    measurements = Measurements(out_dir / "measurements.jsonl", card_of(backend, spec), spec.image_size)
    subjects = sweep_subjects(network_spec, spec)
    missing = [subject for subject in subjects if subject not in measurements]
    done = len(subjects) - len(missing)
    for subject, timing, origin in measure(
        backend, missing, spec.image_size, lambda n, text: report(done + n, len(subjects), text)
    ):
        measurements.append(subject, timing, origin)
    report(len(subjects), len(subjects), "fitting")
    model = fit(measurements.measured(subjects), measurements.full_card(subjects), spec.seed)
    model.save(out_dir / "predictor.json")
    return model


def sweep_subjects(network_spec: NetworkSpec, spec: LatencySpec) -> list[Subject]:
    """Everything that a sweep measures, in order."""
    blocks = sample_blocks(declare(network_spec), spec.num_blocks, spec.seed)
    networks = sample_networks(network_spec, spec.num_networks, spec.seed)
    return [*(block_subject(network_spec, *block) for block in blocks), *map(Subject, networks)]


def measure_networks(archs: list[ArchSpec], spec: LatencySpec, report: Report) -> list[Timing]:
    """Whole networks with random weights, all of them in turns."""
    backend, models = backend_of(spec), []
    for number, arch in enumerate(archs):
        report(number, len(archs), f"building {arch.digest}")
        models.append(backend.build(Subject(arch), spec.image_size))
    report(len(archs), len(archs), "measuring")
    return in_turns(backend, models)


def measure(
    backend: Backend, subjects: list[Subject], image_size: tuple[int, int], report: Callable[[int, str], None]
) -> Iterator[tuple[Subject, Timing, Origin]]:
    """Builds and measures, a batch at a time."""
    for start in range(0, len(subjects), BATCH):
        batch = subjects[start : start + BATCH]
        models: list[Any] = []
        for subject in batch:
            report(start + len(models), subject.block or "whole network")
            models.append(backend.build(subject, image_size))
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        origins = [Origin(backend.digest(model), date) for model in models]
        yield from zip(batch, in_turns(backend, models), origins, strict=True)


def in_turns(backend: Backend, models: list[Any]) -> list[Timing]:
    """Timings of models that were measured one after the other, several times over."""
    if isinstance(backend, BatchBackend):
        backend.prepare(models, ROUNDS)
    timings = [backend.measure(model) for model in models]
    for _ in range(ROUNDS - 1):
        timings = [merge(timing, backend.measure(model)) for timing, model in zip(timings, models, strict=True)]
    return timings


def backend_of(spec: LatencySpec) -> Backend:
    """The backend of a sweep; its runs are spread over the rounds."""
    return make_backend(spec.device, spec.threads, -(-spec.runs // ROUNDS))


def card_of(backend: Backend, spec: LatencySpec) -> dict[str, Any]:
    """The backend's card, with the runs of all rounds."""
    return {**backend.card(), "runs": spec.runs, "rounds": ROUNDS, "image_size": list(spec.image_size)}


def summary(model: LatencyModel) -> str:
    """Held-out errors in one line."""
    errors = {name: f"{100 * value:.1f} %" for name, value in model.errors.items()}
    return (
        f"{model.unit} of {model.card['device']}; held-out error: blocks {errors['block_mean']} on average "
        f"({errors['block_median']} median, {errors['block_max']} at most), "
        f"networks {errors['network_mean']} ({errors['network_max']} at most)"
    )


def save_timings(timings: list[Timing], path: Path) -> None:
    """Writes timings as JSON."""
    path.write_text(json.dumps([[timing.ms, timing.runs, timing.noise] for timing in timings]))
