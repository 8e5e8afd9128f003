"""Export in a child process, so that the process that trains never loads TensorFlow."""

import json
import os
import subprocess
import sys
from typing import Any

from rtseg_jax.errors import failed_child
from rtseg_jax.export.spec import FLOAT32, JAX2TF, quantization
from rtseg_jax.files import Place

PICTURES = 16
"""Validation pictures that the float32 file of a run is scored on; `convert_tflite` by itself takes all."""

BEST = "best"
"""The network that a run hands over."""


def convert_in_child(
    workdir: Place, output: Place, converter: str = JAX2TF, *, precision: str = FLOAT32, network: str = BEST
) -> dict[str, Any]:
    """Runs `convert_tflite` on a workdir; returns the card that it writes beside the model.

    A float32 file that misses a threshold is an error, other numbers may lose some accuracy: their card says so. Their
    score stands in the table of a run, so it is that of all validation pictures.
    """
    card = output.with_suffix(".json")
    card.unlink(missing_ok=True)
    command = [sys.executable, "-m", "rtseg_jax.convert_tflite", f"--workdir={workdir}", f"--output={output}"]
    command += [f"--converter={converter}", f"--quantize={quantization(precision)}", f"--network={network}"]
    command += [f"--pictures={PICTURES}"] if precision == FLOAT32 else []
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode and (precision == FLOAT32 or not card.exists()):
        raise failed_child("export", done.returncode, done.stdout + done.stderr)
    return json.loads(card.read_text())
