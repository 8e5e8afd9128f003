"""Converts a trained network, and finds out how far the file is the same network."""

import csv
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rtseg_jax import __version__
from rtseg_jax.data import evaluation_batches
from rtseg_jax.data.subset import Subset, spread
from rtseg_jax.deployment.card import Card
from rtseg_jax.deployment.examination import Examination, Function
from rtseg_jax.deployment.trained import NORMALIZATION, Trained
from rtseg_jax.errors import UserError
from rtseg_jax.export import formats, gpu, operators, tflite
from rtseg_jax.export.integer import Calibrated, LayerError
from rtseg_jax.export.metadata import Metadata, attach_metadata
from rtseg_jax.export.parity import TFLiteFunction
from rtseg_jax.export.spec import ExportSpec
from rtseg_jax.files import Place, write_bytes, write_json, write_text, write_whole
from rtseg_jax.latency.devices.host_cpu import HostCpu
from rtseg_jax.provenance import provenance

THREADS = 2  # of the file while it is scored; its latency is that of one


def convert_trained(
    examination: Examination, output: Place, *, most_lost: float, calibration: int = 100, require_gpu: bool = False
) -> Card:
    """Writes the file, and its card as JSON and Markdown beside it.

    An integer file that loses too much keeps more and more of its worst layers in float32, until it does not; their
    errors are written beside it.

    Args:
      examination: what to convert, and on what to compare.
      output: the file.
      most_lost: points of mIoU that the file may lose.
      calibration: training pictures to calibrate an integer file on.
      require_gpu: whether an untested GPU is a failure.
    """
    trained, spec = examination.trained, examination.spec
    float_layers: Sequence[LayerError] = ()
    if spec.integers:
        pictures = calibration_pictures(examination, calibration)
        calibrated = Calibrated(trained.network, trained.variables, spec, NORMALIZATION, pictures)
        model, float_layers = lower_until(
            calibrated, lambda model: examination.lost(TFLiteFunction(model, THREADS)), most_lost
        )
        if float_layers:
            write_whole(output.with_suffix(".layers.csv"), lambda path: _write_layers(path, calibrated, float_layers))
    else:
        model = tflite.convert_network(trained.network, trained.variables, spec, NORMALIZATION)
    model = attach_metadata(model, metadata_of(trained, spec))
    card = examine(model, examination, output.name, len(float_layers), most_lost, require_gpu)
    write_bytes(output, model)
    write_json(output.with_suffix(".json"), card.to_json())
    write_text(output.with_suffix(".md"), card.to_markdown())
    return card


def export_trained(examination: Examination, form: str, output: Place, *, most_lost: float) -> Card:
    """Writes the network in a form other than TFLite, and the card of what was read back.

    Args:
      examination: what to convert, and on what to compare.
      form: one of `formats.FORMATS`.
      output: the file or folder; the card's names are its own with `.json` and `.md` appended.
      most_lost: points of mIoU that the export may lose.
    """
    trained, cards = examination.trained, []

    def write(path: Path) -> None:
        metadata = metadata_of(trained, examination.spec)
        formats.write_export(form, path, trained.network, trained.variables, metadata, NORMALIZATION)
        cards.append(examine_export(form, path, examination, output.name, most_lost))

    formats.write_form(form, output, write)
    (card,) = cards
    write_json(output.with_name(f"{output.name}.json"), card.to_json())
    write_text(output.with_name(f"{output.name}.md"), card.to_markdown())
    return card


def lower_until(
    calibrated: Calibrated, lost: Callable[[bytes], float | None], most_lost: float
) -> tuple[bytes, Sequence[LayerError]]:
    """An integer file that loses little enough, and the layers that it keeps in float32: none, one, two, four, …

    `lost` says how many points a file loses, or None where that cannot be told.
    """
    model, kept = calibrated.convert(), 0
    while (points := lost(model)) is not None and points > most_lost and kept < len(calibrated.worst):
        kept = max(1, 2 * kept)
        model = calibrated.convert([layer.tensor for layer in calibrated.worst[:kept]])
    return model, calibrated.worst[:kept] if kept else ()


def metadata_of(trained: Trained, spec: ExportSpec) -> Metadata:
    """What the file says of itself."""
    info, (mean, std) = trained.info, NORMALIZATION
    return Metadata(
        info.class_names,
        info.palette,
        mean,
        std,
        trained.arch.digest,
        export=spec,
        version=__version__,
        provenance={"exported": provenance(), "trained": trained.provenance},
    )


def examine(
    model: bytes, examination: Examination, name: str, float_layers: int, most_lost: float, require_gpu: bool
) -> Card:
    """Everything that the card says of a file."""
    file = TFLiteFunction(model, THREADS)
    verdict, on_gpu = examination.on_gpu(model) or (None, None)
    timing = HostCpu().measure(model)
    return Card(
        file=name,
        size=len(model),
        architecture=examination.trained.arch.digest,
        export=examination.spec,
        contents=operators.inspect(model),
        float_layers=float_layers,
        verdict=verdict,
        how_to_test=gpu.HOW_TO_GET_ONE,
        cpu=examination.on_cpu(file),
        gpu=on_gpu,
        pictures=len(examination.scored_source or ()),
        jax_miou=examination.jax_miou,
        latency_ms=timing.ms,
        noise=timing.noise,
        most_lost=most_lost,
        require_gpu=require_gpu,
        **_scored(examination, file),
    )


def examine_export(form: str, path: Path, examination: Examination, name: str, most_lost: float) -> Card:
    """Everything that the card says of an export that is no TFLite file."""
    exported = formats.read_export(form, path)
    return Card(
        file=name,
        size=formats.bytes_of(path),
        architecture=examination.trained.arch.digest,
        export=examination.spec,
        contents=None,
        float_layers=0,
        verdict=None,
        how_to_test=None,
        cpu=examination.on_cpu(exported),
        gpu=None,
        pictures=len(examination.scored_source or ()),
        jax_miou=examination.jax_miou,
        latency_ms=None,
        noise=None,
        most_lost=most_lost,
        require_gpu=False,
        form=form,
        **_scored(examination, exported),
    )


def _scored(examination: Examination, function: Function) -> dict[str, Any]:
    """The fields of a card that say how well a file labels pictures."""
    scores = examination.scores(function)
    return {"miou": None, "scores": None} if scores is None else {"miou": scores.miou, "scores": scores.as_json()}


def calibration_pictures(examination: Examination, number: int) -> UInt8[np.ndarray, "n h w 3"]:
    """Training pictures of the size of the file, evenly over the set; raises `UserError` where there is no data set."""
    dataset, spec = examination.dataset, examination.spec
    if dataset is None:
        raise UserError(f"--quantize={spec.quantize} needs training pictures to calibrate on, and there is no data set")
    data = dataclasses.replace(examination.trained.spec.data, eval_size=spec.size)
    source = Subset(dataset.train, spread(dataset.train, number))
    return np.concatenate([batch["image"] for batch in evaluation_batches(source, data, 1, num_threads=0)])


def _write_layers(path: Path, calibrated: Calibrated, kept: Sequence[LayerError]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["operator", "tensor", "error", "kept in float32"])
        for layer in calibrated.worst:
            writer.writerow([layer.operator, layer.tensor, f"{layer.error:.4f}", layer in kept])
