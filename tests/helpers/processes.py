"""Programs of the tests that run in a process of their own, and what they find."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(script: Path, *arguments: object, **environment: str) -> str:
    """Runs a program on the CPU until it ends well; what it printed to its error stream."""
    settings = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def findings(folder: Path) -> dict[str, Any]:
    """What a program left in a folder."""
    return json.loads((folder / "found.json").read_text())
