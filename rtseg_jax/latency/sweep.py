"""Measuring blocks and networks. Backends of TFLite files may import TensorFlow: run it in a child process."""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rtseg_jax.architecture import ArchSpec, NetworkSpec
from rtseg_jax.errors import UserError
from rtseg_jax.files import Place, on_disk
from rtseg_jax.latency import turns
from rtseg_jax.latency.accuracy import Point, error_figures
from rtseg_jax.latency.adapting import adapt
from rtseg_jax.latency.backend import Backend, FollowedBackend, Report, Timing, noise_warning
from rtseg_jax.latency.building import blocks_in
from rtseg_jax.latency.devices import make_backend
from rtseg_jax.latency.fitting import Fit, Measured, fit
from rtseg_jax.latency.measurements import Measurements
from rtseg_jax.latency.predictor import FILES, LatencyModel
from rtseg_jax.latency.pricing import predict_arch
from rtseg_jax.latency.sampling import sample_blocks, sample_networks, sample_unseen_networks
from rtseg_jax.latency.spec import LatencySpec
from rtseg_jax.latency.subjects import Size, Subject
from rtseg_jax.latency.turns import in_turns, measure

UNSEEN = "unseen networks"
LEFT_OUT = "networks left out one at a time"

Points = Mapping[str, Sequence[Point]]
"""Predictions for what was held out, by what that is."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A finished sweep: the predictor, and what it says of blocks and of networks that it has not seen."""

    model: LatencyModel
    blocks: Points
    networks: Points


def sweep(
    network_spec: NetworkSpec, spec: LatencySpec, out_dir: Place, report: Report, base: LatencyModel | None = None
) -> Sweep:
    """Measures what is missing in `out_dir/measurements.jsonl`, fits, and writes `out_dir/predictor.json`.

    Where there is a predictor of another device to begin with, `base`, it is adapted: few measurements are enough.
    """
    if base is not None and tuple(base.card["image_size"]) != spec.image_size:
        raise UserError(f"the predictor to adapt is of {base.card['image_size']}; measure at --image_size of the same")
    if base is not None and base.precision != spec.precision:
        raise UserError(f"the predictor to adapt is of {base.precision} files; measure at --precision of the same")
    subjects, unseen = sweep_subjects(network_spec, spec), unseen_subjects(network_spec, spec)
    with opened(spec, report) as (backend, told):
        if on_disk(out_dir):
            out_dir.mkdir(parents=True, exist_ok=True)
        measurements = Measurements(out_dir / "measurements.jsonl", card_of(backend, spec))
        measure_missing(backend, measurements, in_order(subjects, unseen), told)
        measurements.card = card_of(backend, spec)  # it may have learned something of the device
    seen = measurements.measured(subjects)
    card = {**measurements.full_card(subjects), "network": network_spec.to_json()}
    fitted = fit(seen, card, spec.seed) if base is None else adapt(base, seen, card)
    result = judged(fitted, seen, unseen, measurements)
    result.model.save(out_dir / "predictor.json")
    return result


def sweep_subjects(network_spec: NetworkSpec, spec: LatencySpec) -> list[Subject]:
    """Everything that a predictor is fitted to, in order of measurement."""
    archs = sample_networks(network_spec, spec.num_networks, spec.seed)
    blocks = sample_blocks(network_spec, spec.image_size, spec.num_blocks, spec.seed)
    return [*blocks, *(Subject(arch, spec.image_size) for arch in archs)]


def unseen_subjects(network_spec: NetworkSpec, spec: LatencySpec) -> list[Subject]:
    """Networks that it is judged by."""
    seen = sample_networks(network_spec, spec.num_networks, spec.seed)
    archs = sample_unseen_networks(network_spec, spec.num_unseen, spec.seed, seen)
    return [Subject(arch, spec.image_size) for arch in archs]


def in_order(subjects: Sequence[Subject], unseen: Sequence[Subject]) -> list[Subject]:
    """Blocks first; networks to fit and networks to judge by take turns, so that they meet the same machine."""
    networks = [subject for subject in subjects if subject.block is None]
    spread = [(i / len(part), subject) for part in (networks, unseen) for i, subject in enumerate(part)]
    blocks = [subject for subject in subjects if subject.block is not None]
    return [*blocks, *(subject for _, subject in sorted(spread, key=lambda pair: pair[0]))]


def measure_missing(backend: Backend, measurements: Measurements, subjects: list[Subject], report: Report) -> None:
    """Measures those of the subjects that are not among the measurements."""
    missing = [subject for subject in subjects if subject not in measurements]
    # A network counts as many blocks, so that what is left tells how long it takes.
    ahead = [0, *itertools.accumulate(map(blocks_in, missing))]
    total = sum(map(blocks_in, subjects))
    start = total - ahead[-1]
    for subject, timing, origin in measure(backend, missing, lambda n, text: report(start + ahead[n], total, text)):
        measurements.append(subject, timing, origin)
    report(total, total, "fitting")


def judged(fitted: Fit, seen: Measured, unseen: Sequence[Subject], measurements: Measurements) -> Sweep:
    """The model with the errors of everything that was held out, and these predictions."""
    blocks = {
        name: [
            Point(seen.blocks[i].name, seen.blocks[i].kind, seen.block_ms[i], float(ms))
            for i, ms in zip(held_out.indices, held_out.ms, strict=True)
        ]
        for name, held_out in fitted.blocks.items()
    }
    left_out = zip(fitted.networks, seen.network_ms, strict=True)
    # The interval is made of these errors: it says nothing of itself here.
    networks = {LEFT_OUT: [Point(f"network {i}", "network", t, float(ms)) for i, (ms, t) in enumerate(left_out)]}
    if unseen:
        networks[UNSEEN] = [_unseen_point(fitted.model, s.arch, s.image_size, measurements.timing(s)) for s in unseen]
    errors = {name: error_figures(points) for name, points in (blocks | networks).items()}
    return Sweep(dataclasses.replace(fitted.model, errors=errors), blocks, networks)


def _unseen_point(model: LatencyModel, arch: ArchSpec, image_size: Size, timing: Timing) -> Point:
    found = predict_arch(arch, image_size, model)
    return Point(arch.digest, "network", timing.ms, found.ms, found.low_ms, found.high_ms)


def measure_networks(networks: Sequence[ArchSpec | bytes], spec: LatencySpec, report: Report) -> list[Timing]:
    """Whole networks, all of them in turns: architectures with random weights, or files as they are."""
    models: list[Any] = []
    with opened(spec, report) as (backend, told):
        for number, network in enumerate(networks):
            if isinstance(network, bytes):
                models.append(network)
                continue
            told(number, len(networks), f"building {network.digest}")
            models.append(backend.build(Subject(network, spec.image_size)))
        told(len(networks), len(networks), "measuring")
        return in_turns(backend, models)


@contextlib.contextmanager
def opened(spec: LatencySpec, report: Report) -> Iterator[tuple[Backend, Report]]:
    """The backend of a sweep and the report to call; what the backend holds is let go at the end."""
    backend = backend_of(spec)
    if not isinstance(backend, FollowedBackend):
        yield backend, report
        return
    finished = False
    try:
        yield backend, backend.following(report)
        finished = True
    finally:
        backend.close(finished)


def backend_of(spec: LatencySpec) -> Backend:
    """The backend of a sweep; its runs are spread over the rounds."""
    return make_backend(spec.device, spec.threads, -(-spec.runs // turns.ROUNDS), spec.converter, spec.precision)


def card_of(backend: Backend, spec: LatencySpec) -> dict[str, Any]:
    """The backend's card, with what the sweep adds; `Measurements.full_card` adds the rest."""
    added = {
        "rounds": f"{turns.ROUNDS} or more, the lowest counts",
        "image_size": list(spec.image_size),
        FILES: spec.precision,
    }
    return {**backend.card(), **added}


def summary(model: LatencyModel) -> str:
    """Held-out errors in a few lines."""
    lines = [f"{model.unit} of {model.card['device']}; relative errors of predictions for what was held out:"]
    for name, figures in model.errors.items():
        text = f"{100 * figures['mape']:.1f} % on average, {100 * figures['max']:.1f} % at most"
        lines.append(f"  {name}: {text}, {100 * figures['within_5']:.0f} % within ±5 %")
    if warning := noise_warning(model.card):
        lines.append(warning)
    return "\n".join(lines)


def save_timings(timings: list[Timing], path: Path) -> None:
    """Writes timings as JSON."""
    path.write_text(json.dumps([[timing.ms, timing.runs, timing.noise] for timing in timings]))
