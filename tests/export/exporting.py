"""Writes and reads exports other than TFLite, each in a process of its own.

Usage: python exporting.py write FOLDER, then python exporting.py read FOLDER, which leaves a file of findings.
"""

import importlib.util
import json
import sys
from pathlib import Path

import jax
import numpy as np
from converting import MEAN, STD, searched

from rtseg_jax.architecture import declare_spec
from rtseg_jax.export.formats import ONNX_LIBRARIES, bytes_of, read_export, write_export, write_form
from rtseg_jax.export.heads import network_function
from rtseg_jax.export.metadata import Metadata, read_metadata
from rtseg_jax.export.spec import ExportSpec

SIZE = (33, 65)
SPECS = {
    "logits": ExportSpec(SIZE),
    "lowres_logits": ExportSpec(SIZE, "lowres_logits", "uint8", batch=2),
    "class_map": ExportSpec(SIZE, "class_map", "uint8"),
}
FORMS = ("stablehlo", "saved_model")


def forms() -> tuple[str, ...]:
    """Those that this environment can write."""
    return (*FORMS, "onnx") if all(map(importlib.util.find_spec, ONNX_LIBRARIES)) else FORMS


def pictures(spec: ExportSpec) -> np.ndarray:
    """Random bytes."""
    return np.random.default_rng(0).integers(0, 256, (spec.batch, *spec.size, 3), np.uint8)


def metadata(spec: ExportSpec) -> Metadata:
    """What the exports say of themselves."""
    return Metadata(("road", "Gebäude", "sky"), ((1, 2, 3),) * 3, MEAN, STD, "0123456789ab", spec, "0.1.0")


def write(folder: Path) -> None:
    """Every export, and what the native lowering computes."""
    from rtseg_jax.export.tflite import random_variables

    network = declare_spec(searched())
    variables = random_variables(network)
    for head, spec in SPECS.items():
        native = network_function(network, variables, (MEAN, STD), head, lowering="native")
        np.save(folder / f"{head}.npy", jax.jit(native)(pictures(spec)))
        for form in forms():
            args = (network, variables, metadata(spec), (MEAN, STD))
            write_form(form, folder / f"{head}.{form}", lambda path, f=form, a=args: write_export(f, path, *a))


def read(folder: Path) -> None:
    """What each export is, and how far it is from the native lowering."""
    found = {f"{form}-{head}": check(folder, form, head) for form in forms() for head in SPECS}
    (folder / "found.json").write_text(json.dumps(found))


def check(folder: Path, form: str, head: str) -> dict:
    """Findings of one export."""
    path, given, expected = folder / f"{head}.{form}", pictures(SPECS[head]), np.load(folder / f"{head}.npy")
    function = read_export(form, path)
    output = function(given)
    difference = float(np.abs(output - expected).max() / np.abs(expected).max())
    return {
        "difference": difference,
        "shape": list(output.shape),
        "expected_shape": list(expected.shape),
        "dtype": str(output.dtype),
        "input_dtype": str(function.input_dtype),
        "takes_another_batch": takes(function, np.concatenate([given, given])),
        "metadata_kept": said(form, path) == metadata(SPECS[head]),
        "labels_kept": form != "saved_model" or (path / "assets.extra" / "labels.txt").read_text(encoding="utf-8"),
        "bytes": bytes_of(path),
        "tensorflow": "tensorflow" in sys.modules,
        **details(form, path),
    }


def takes(function, given: np.ndarray) -> bool:
    """Whether the export runs on pictures of that shape."""
    try:
        function(given)
    except Exception:  # every runtime has its own
        return False
    return True


def said(form: str, path: Path) -> Metadata:
    """The metadata of an export."""
    if form == "stablehlo":
        return read_metadata(path.read_bytes(), str(path))
    if form == "saved_model":
        return Metadata.from_json(json.loads((path / "assets.extra" / "metadata.json").read_text(encoding="utf-8")))
    import onnx

    (said,) = [entry.value for entry in onnx.load(path).metadata_props if entry.key == "metadata.json"]
    return Metadata.from_json(json.loads(said))


def details(form: str, path: Path) -> dict:
    """Names or platforms that users of an export rely on."""
    if form == "stablehlo":
        return {"platforms": list(jax.export.deserialize(bytearray(path.read_bytes())).platforms)}
    if form == "saved_model":
        import tensorflow as tf

        signature = tf.saved_model.load(str(path)).signatures["serving_default"]
        return {"inputs": list(signature.structured_input_signature[1]), "outputs": list(signature.structured_outputs)}
    import onnx

    graph = onnx.load(path).graph
    return {"inputs": [value.name for value in graph.input], "outputs": [value.name for value in graph.output]}


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
