"""Exports in other forms than TFLite, each by a converter that others maintain, and each read back to be compared.

`stablehlo` is `jax.export`'s artefact, `saved_model` TensorFlow's folder, `onnx` the file of jax2onnx, which is not
among the requirements. Importing this module is cheap; the libraries are loaded where they are used.
"""

import contextlib
import dataclasses
import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped

from rtseg_jax.architecture import Network
from rtseg_jax.errors import UserError
from rtseg_jax.export import litert
from rtseg_jax.export.heads import Variables, network_function
from rtseg_jax.export.metadata import LABELS, METADATA, Metadata, attach_metadata
from rtseg_jax.export.pictures import Normalization
from rtseg_jax.export.spec import JAX2TF, LITERT
from rtseg_jax.files import Place, on_disk, write_whole
from rtseg_jax.quiet import import_tensorflow

TFLITE = "tflite"
FORMATS = (TFLITE, "saved_model", "stablehlo", "onnx")
FILE_NAMES = {
    TFLITE: "model.tflite",
    "saved_model": "saved_model",
    "stablehlo": "model.stablehlo",
    "onnx": "model.onnx",
}

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a StableHLO artefact and a SavedModel run on."""

ONNX_LIBRARIES = ("jax2onnx", "onnx", "onnxruntime")
INSTALL_ONNX = "pip install -c constraints.txt jax2onnx==0.13.0"
"""It asks for onnx and onnxruntime, and is the newest that goes with the pinned orbax-checkpoint."""

INPUT_NAME = "pictures"


@dataclasses.dataclass(frozen=True)
class ExportedFunction:
    """An export that was read from disk, as a function of pictures.

    Attributes:
      input_dtype: type of the pictures; others are cast to it.
      run: from pictures of that type to the output.
    """

    input_dtype: np.dtype
    run: Callable[[Any], Any]

    def __call__(self, pictures: Shaped[np.ndarray, "b h w 3"]) -> Shaped[np.ndarray, "b h2 w2 k"]:
        """Runs the export once."""
        return np.asarray(self.run(np.asarray(pictures, self.input_dtype)))


def check_request(
    form: str, output: Place, quantize: str, *, converter: str = JAX2TF, require_gpu: bool = False
) -> None:
    """Raises `UserError` where a form cannot be had; call it before any work."""
    if form not in FORMATS:
        raise UserError(f"--format is {form!r}: it must be one of {', '.join(FORMATS)}")
    if form == TFLITE:
        if converter == LITERT:
            litert.check_installed()
        return
    if converter != JAX2TF:
        raise UserError(f"--converter={converter} goes with --format=tflite only; leave it out for --format={form}")
    if quantize != "none":
        raise UserError(f"--quantize={quantize} goes with --format=tflite only; leave it out for --format={form}")
    if require_gpu:
        raise UserError(f"--require_gpu asks TFLite's GPU accelerator; leave it out for --format={form}")
    if form == "saved_model" and not on_disk(output):
        raise UserError(f"{output}: a SavedModel is a folder and is written to a disk only; name one with --output")
    missing = [name for name in ONNX_LIBRARIES if form == "onnx" and importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--format=onnx needs {', '.join(missing)}, not installed here: {INSTALL_ONNX}")
    if form == "saved_model" and output.exists() and not (output / "saved_model.pb").is_file():
        raise UserError(f"{output}: there, and no SavedModel; name a folder that may be replaced")
    if form != "saved_model" and output.is_dir():
        raise UserError(f"{output}: a folder; --format={form} writes a file")


def write_export(
    form: str,
    path: Path,
    network: Network,
    variables: Variables,
    metadata: Metadata,
    normalization: Normalization | None = None,
) -> None:
    """Converts a network and writes it at `path`, a folder where the form is one.

    Args:
      form: one of `FORMATS`, not TFLite.
      path: where to write.
      network: the declaration.
      variables: `params` and `batch_stats`.
      metadata: what the export says of itself; size, ending and input are taken from its `ExportSpec`.
      normalization: see `network_function`.
    """
    spec = metadata.export
    # jax2onnx 0.13 forgets the dilation of transposed convolutions and the layout of pooling: it gets the lowering that
    # writes both out.
    lowering = "cpu" if form == "onnx" else "native"
    function = network_function(network, variables, normalization, spec.head, lowering)
    dtype = np.dtype("uint8" if spec.input == "uint8" else "float32")
    pictures = jax.ShapeDtypeStruct((spec.batch, *spec.size, 3), dtype)
    _WRITERS[form](path, function, pictures, metadata)


def read_export(form: str, path: Path) -> ExportedFunction:
    """An export of that form as a function; nothing of it is taken from this process."""
    return _READERS[form](path)


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Like `files.write_whole` for a folder, which replaces the folder that may be there.

    A reader sees the old folder, or the new one, or for an instant none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (path.with_name(f".{path.name}.{ending}") for ending in ("tmp", "old"))
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        write(temporary)
        with contextlib.suppress(FileNotFoundError):
            path.rename(old)
        temporary.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def write_form(form: str, path: Place, write: Callable[[Path], object]) -> None:
    """Lets `write` make a file or folder under a temporary name, then puts it in place."""
    if form != "saved_model":
        write_whole(path, write)
    else:
        write_folder(Path(path), write)


def bytes_of(path: Path) -> int:
    """Size of a file, or of all files of a folder."""
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(file.stat().st_size for file in files) if path.is_dir() else path.stat().st_size


def _write_stablehlo(path: Path, function: Any, pictures: jax.ShapeDtypeStruct, metadata: Metadata) -> None:
    from jax import export

    artefact = export.export(jax.jit(function), platforms=PLATFORMS)(pictures)
    path.write_bytes(attach_metadata(bytes(artefact.serialize()), metadata))


def _read_stablehlo(path: Path) -> ExportedFunction:
    from jax import export

    artefact = export.deserialize(bytearray(path.read_bytes()))
    return ExportedFunction(np.dtype(artefact.in_avals[0].dtype), jax.jit(artefact.call))


def _write_saved_model(path: Path, function: Any, pictures: jax.ShapeDtypeStruct, metadata: Metadata) -> None:
    tf = import_tensorflow()
    from jax.experimental import jax2tf

    converted = jax2tf.convert(function, with_gradient=False, native_serialization_platforms=PLATFORMS)
    signature = tf.TensorSpec(pictures.shape, tf.as_dtype(pictures.dtype), INPUT_NAME)
    network = tf.function(
        lambda pictures: {metadata.export.head: converted(pictures)}, input_signature=[signature], autograph=False
    )
    tf.saved_model.save(tf.Module(), str(path), signatures=network.get_concrete_function())
    extra = path / "assets.extra"  # TensorFlow leaves this folder to others
    extra.mkdir()
    (extra / METADATA).write_text(json.dumps(metadata.to_json(), indent=2) + "\n", encoding="utf-8")
    (extra / LABELS).write_text("\n".join(metadata.labels) + "\n", encoding="utf-8")


def _read_saved_model(path: Path) -> ExportedFunction:
    tf = import_tensorflow()

    model = tf.saved_model.load(str(path))
    signature = model.signatures["serving_default"]
    taken = signature.structured_input_signature[1][INPUT_NAME]

    def run(pictures: np.ndarray, model: Any = model) -> np.ndarray:  # the signature does not keep its model alive
        (output,) = signature(**{INPUT_NAME: tf.constant(pictures)}).values()
        return output.numpy()

    return ExportedFunction(np.dtype(taken.dtype.as_numpy_dtype), run)


def _write_onnx(path: Path, function: Any, pictures: jax.ShapeDtypeStruct, metadata: Metadata) -> None:
    logging.getLogger("jax2onnx").setLevel(logging.ERROR)  # it warns of every operator that this JAX lacks
    import jax2onnx
    import onnx

    names = {"model_name": "rtseg_jax", "input_names": [INPUT_NAME], "output_names": [metadata.export.head]}
    model = jax2onnx.to_onnx(function, [pictures], **names)
    del model.graph.value_info[:]  # jax2onnx 0.13 writes batch 1 where it is another; onnx finds the shapes itself
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata.to_json()), LABELS: "\n".join(metadata.labels)})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _read_onnx(path: Path) -> ExportedFunction:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    dtype = np.dtype("uint8" if taken.type == "tensor(uint8)" else "float32")
    return ExportedFunction(dtype, lambda pictures: session.run(None, {taken.name: pictures})[0])


_WRITERS = {"stablehlo": _write_stablehlo, "saved_model": _write_saved_model, "onnx": _write_onnx}
_READERS = {"stablehlo": _read_stablehlo, "saved_model": _read_saved_model, "onnx": _read_onnx}
