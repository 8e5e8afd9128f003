"""Converts a trained network, and finds out how far the file is the same network."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from rtseg_jax import __version__
from rtseg_jax.data import Dataset, DataSpec, Source, evaluation_batches
from rtseg_jax.data.subset import Subset, spread
from rtseg_jax.deployment.card import Card
from rtseg_jax.deployment.trained import Trained
from rtseg_jax.evaluation.confusion import confusion_matrix, predict_labels, sum_confusions
from rtseg_jax.evaluation.scores import scores_from_confusion
from rtseg_jax.export import gpu, operators, parity, tflite
from rtseg_jax.export.heads import network_function
from rtseg_jax.export.metadata import Metadata, attach_metadata
from rtseg_jax.export.spec import ExportSpec
from rtseg_jax.files import write_bytes, write_json, write_text
from rtseg_jax.latency.backends import HostCpu
from rtseg_jax.training.step import IMAGE_MEAN, IMAGE_STD

NORMALIZATION = (IMAGE_MEAN, IMAGE_STD)


@dataclasses.dataclass(frozen=True)
class Checks:
    """How a file is checked.

    Attributes:
      pictures: validation pictures to score, spread over the set; None for all, 0 for none.
      compared: pictures on which outputs are compared with JAX.
      compared_on_gpu: likewise on the GPU accelerator, which may be slow in software.
      calibration: training pictures to calibrate integer files on.
      most_lost: points of mIoU that the file may lose.
      require_gpu: whether an untested GPU is a failure.
    """

    pictures: int | None
    most_lost: float
    compared: int = 8
    compared_on_gpu: int = 2
    calibration: int = 100
    require_gpu: bool = False


def convert_trained(trained: Trained, dataset: Dataset | None, spec: ExportSpec, checks: Checks, output: Path) -> Card:
    """Writes the file, and its card as JSON and Markdown beside it.

    Args:
      trained: what to convert.
      dataset: pictures to calibrate and compare on; None to do neither.
      spec: what the file should be.
      checks: how it is checked.
      output: the file.
    """
    calibration = _calibration(dataset, trained.spec.data, spec, checks)
    model = tflite.convert_network(trained.network, trained.variables, spec, NORMALIZATION, calibration)
    model = attach_metadata(model, metadata_of(trained, spec))
    card = check(model, trained, dataset, spec, checks, output.name)
    write_bytes(output, model)
    write_json(output.with_suffix(".json"), card.to_json())
    write_text(output.with_suffix(".md"), card.to_markdown())
    return card


def metadata_of(trained: Trained, spec: ExportSpec) -> Metadata:
    """What the file says of itself."""
    info = trained.info
    return Metadata(
        info.class_names, info.palette, IMAGE_MEAN, IMAGE_STD, trained.arch.digest, export=spec, version=__version__
    )


def check(model: bytes, trained: Trained, dataset: Dataset | None, spec: ExportSpec, checks: Checks, name: str) -> Card:
    """Runs a file on CPU and GPU beside JAX."""
    exported = parity.TFLiteFunction(model, threads=2)
    native = jax.jit(network_function(trained.network, trained.variables, NORMALIZATION, spec.head, lowering="native"))
    pictures = _some_pictures(dataset, trained.spec.data, spec, checks.compared)
    expected = [np.asarray(native(batch)) for batch in pictures]
    cpu = parity.compare_outputs(expected, map(exported, pictures)) if pictures else None
    verdict, on_gpu = _check_on_gpu(model, [p.astype(exported.input_dtype) for p in pictures], expected, spec, checks)
    scored = _score(exported, trained, dataset, spec, checks)
    timing = HostCpu().measure(model)
    return Card(
        file=name,
        size=len(model),
        architecture=trained.arch.digest,
        export=spec,
        contents=operators.inspect(model),
        verdict=verdict,
        how_to_test=gpu.HOW_TO_GET_ONE,
        cpu=cpu,
        gpu=on_gpu,
        **scored,
        latency_ms=timing.ms,
        noise=timing.noise,
        most_lost=checks.most_lost,
        require_gpu=checks.require_gpu,
    )


def _check_on_gpu(
    model: bytes, inputs: list[np.ndarray], expected: list[np.ndarray], spec: ExportSpec, checks: Checks
) -> tuple[gpu.Verdict | None, parity.Parity | None]:
    inputs = inputs[: checks.compared_on_gpu]
    try:
        (run,) = gpu.run_on_gpu([gpu.Job(model, tuple(inputs))])
    except gpu.NoAdapter:
        return None, None
    agreement = parity.compare_outputs(expected[: len(inputs)], run.outputs) if run.outputs else None
    return run.verdict, agreement


def _score(
    exported: Callable[[np.ndarray], np.ndarray],
    trained: Trained,
    dataset: Dataset | None,
    spec: ExportSpec,
    checks: Checks,
) -> dict[str, Any]:
    """mIoU of the file and of JAX on the same validation pictures."""
    if dataset is None or checks.pictures == 0:
        return {"pictures": 0, "miou": None, "jax_miou": None}
    source = Subset(dataset.validation, spread(dataset.validation, checks.pictures or len(dataset.validation)))
    native = jax.jit(network_function(trained.network, trained.variables, NORMALIZATION, lowering="native"))
    classes = dataset.info.num_classes

    def confusion(outputs: Any, batch: Any) -> np.ndarray:
        predictions = label_maps(outputs, batch["label"].shape[1:])
        return np.asarray(confusion_matrix(predictions, jnp.asarray(batch["label"]), batch["valid"], classes))

    both = []
    for batch in _batches(source, trained.spec.data, spec):
        both.append((confusion(exported(batch["image"]), batch), confusion(native(batch["image"]), batch)))
    file, jax_network = (
        scores_from_confusion(sum_confusions(matrices), dataset.info.class_names)
        for matrices in zip(*both, strict=True)
    )
    return {"pictures": len(source), "miou": file.miou, "jax_miou": jax_network.miou}


def label_maps(outputs: Any, size: tuple[int, int]) -> jax.Array:
    """Labels at `size` from logits of any size, or from a class map, whose pixels are repeated."""
    outputs = jnp.asarray(outputs)
    if outputs.shape[-1] > 1:
        return predict_labels(outputs, size)
    resized = jax.image.resize(outputs, (len(outputs), *size, 1), "nearest")
    return resized[..., 0].astype(jnp.int32)


def _calibration(
    dataset: Dataset | None, data: DataSpec, spec: ExportSpec, checks: Checks
) -> UInt8[np.ndarray, "n h w 3"] | None:
    if dataset is None or spec.quantize != "int8":
        return None
    source = Subset(dataset.train, spread(dataset.train, checks.calibration))
    one = dataclasses.replace(spec, batch=1)
    return np.concatenate([batch["image"] for batch in _batches(source, data, one)])


def _some_pictures(dataset: Dataset | None, data: DataSpec, spec: ExportSpec, number: int) -> list[np.ndarray]:
    """Full batches of validation pictures, about as many pictures as asked for."""
    if dataset is None:
        return []
    number = max(number, spec.batch)
    source = Subset(dataset.validation, spread(dataset.validation, number - number % spec.batch))
    return [batch["image"] for batch in _batches(source, data, spec)]


def _batches(source: Source, data: DataSpec, spec: ExportSpec) -> Iterator[Any]:
    return evaluation_batches(source, dataclasses.replace(data, eval_size=spec.size), spec.batch, num_threads=0)
