"""Sweeps in a child process, so that the process that trains never loads TensorFlow."""

import collections
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from rtseg_jax.architecture import ArchSpec, NetworkSpec
from rtseg_jax.errors import LAST_WORDS, failed_child
from rtseg_jax.files import Place
from rtseg_jax.latency.backend import Timing
from rtseg_jax.latency.devices.jax_module import JAX_DEVICES
from rtseg_jax.latency.predictor import LatencyModel
from rtseg_jax.latency.spec import LatencySpec

PROGRESS = "PROGRESS"
FILE = "file"
"""In the place of an architecture: names a file to time."""


def run_sweep_in_child(network_spec: NetworkSpec, latency_spec: LatencySpec, out_dir: Place) -> LatencyModel:
    """Measures what `out_dir` lacks, fits, and returns the predictor, which is also in `out_dir/predictor.json`."""
    request = {"network": network_spec.to_json(), "latency": dataclasses.asdict(latency_spec)}
    _run(request, out_dir, "measuring latency")
    return LatencyModel.load(out_dir / "predictor.json")


def measure_networks_in_child(
    networks: Sequence[ArchSpec | Place], image_size: tuple[int, int], latency_spec: LatencySpec
) -> list[Timing]:
    """Times whole networks in turns, so that drift of the machine hits all alike.

    An architecture is converted with random weights; of a file the file itself is timed.
    """
    latency_spec = dataclasses.replace(latency_spec, image_size=image_size)
    named = [network.to_json() if isinstance(network, ArchSpec) else {FILE: str(network)} for network in networks]
    request = {"networks": named, "latency": dataclasses.asdict(latency_spec)}
    with tempfile.TemporaryDirectory() as directory:
        _run(request, Path(directory), "measuring networks")
        return [Timing(*row) for row in json.loads((Path(directory) / "timings.json").read_text())]


def accelerator_settings(device: str) -> dict[str, str]:
    """Environment of a sweep: it leaves the accelerator to the process that trains, unless that is what it measures.

    A GPU is shared then, and the child takes memory as it needs it. A TPU belongs to one process: measure it before.
    """
    if device in JAX_DEVICES:
        return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def _run(request: dict[str, Any], out_dir: Place, title: str) -> None:
    """Runs `measure_latency` on a request and shows its progress."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "latency_request.json"
        path.write_text(json.dumps(request))
        _run_file(path, request, out_dir, title)


def _run_file(path: Path, request: dict[str, Any], out_dir: Place, title: str) -> None:
    command = [sys.executable, "-m", "rtseg_jax.measure_latency", f"--request={path}", f"--output={out_dir}"]
    environment = {**os.environ, **accelerator_settings(request["latency"]["device"]), "TF_CPP_MIN_LOG_LEVEL": "2"}
    tail: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # its end tells the child that this process is gone, see `measure_latency`
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        errors="replace",
    )
    with process, Progress(transient=True) as progress:
        task = progress.add_task(title, total=None)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith(PROGRESS):
                    _, done, total, text = line.rstrip("\n").split(" ", 3)
                    progress.update(task, completed=int(done), total=int(total), description=f"{title}: {text}")
                else:
                    tail.append(line.rstrip())
        except BaseException:
            process.kill()  # a run that is told to end does not wait for it
            raise
    if process.returncode:
        raise failed_child(title, process.returncode, "\n".join(tail))
