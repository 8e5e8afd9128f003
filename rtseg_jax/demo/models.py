"""What the page is told of an exported file: how to fill its input, what its output is, what its classes look like."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from rtseg_jax.errors import UserError
from rtseg_jax.export.interpreter import load_interpreter
from rtseg_jax.export.metadata import read_metadata

TYPES = ("float32", "uint8", "int32")
"""Of tensors that LiteRT.js hands in and out."""


@dataclasses.dataclass(frozen=True)
class Model:
    """An exported file.

    Attributes:
      content: its bytes.
      description: plain values for the page, from the file's own metadata and its tensors.
    """

    content: bytes
    description: dict[str, Any]

    @property
    def summary(self) -> str:
        """A line for people."""
        told = self.description
        height, width = told["input"]["shape"][1:3]
        size = f"{height}×{width}, {told['numbers']}, {len(self.content) / 1e6:.2f} MB"
        return f"{told['name']}: {len(told['labels'])} classes, {size}"


def read_model(path: Path) -> Model:
    """A file with its description.

    Raises:
      UserError: no such file, no metadata, or one that LiteRT or LiteRT.js cannot run.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"{path}: {reason}; name an exported .tflite file") from error
    metadata = read_metadata(content, str(path))
    try:
        interpreter = load_interpreter(content)
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: LiteRT cannot run this file ({reason}); export it again") from error
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    description = {
        "name": path.stem,
        "labels": metadata.labels,
        "palette": metadata.palette,
        "numbers": "float32" if metadata.export.quantize == "none" else metadata.export.quantize,
        "head": metadata.export.head,
        "architecture": metadata.architecture,
        "bytes": len(content),
        "input": _tensor(taken, path),
        "output": _tensor(given, path),
    }
    return Model(content, description)


def _tensor(details: dict[str, Any], path: Path) -> dict[str, Any]:
    """Shape, type, and the step and zero point of its numbers; a step of 0 where they are values themselves."""
    dtype = np.dtype(details["dtype"]).name
    if dtype not in TYPES:
        raise UserError(
            f"{path}: tensor {details['name']!r} is {dtype}, which LiteRT.js does not take; export with --input=uint8"
        )
    scale, zero = details["quantization"]
    return {"shape": details["shape"].tolist(), "type": dtype, "scale": float(scale), "zero": int(zero)}
