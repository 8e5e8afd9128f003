"""Export in a child process, so that the process that trains never loads TensorFlow."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rtseg_jax.errors import UserError


def convert_in_child(workdir: Path, output: Path, pictures: UInt8[np.ndarray, "n h w 3"]) -> dict[str, Any]:
    """Runs `convert_tflite` on a workdir; returns the card that it writes beside the model."""
    with tempfile.TemporaryDirectory() as directory:
        saved = Path(directory) / "pictures.npy"
        np.save(saved, pictures)
        command = [sys.executable, "-m", "rtseg_jax.convert_tflite", f"--workdir={workdir}", f"--output={output}"]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
        done = subprocess.run(
            [*command, f"--pictures={saved}"], env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise UserError(f"export failed with exit status {done.returncode}; its last words:\n{tail}")
    return json.loads(output.with_suffix(".json").read_text())
