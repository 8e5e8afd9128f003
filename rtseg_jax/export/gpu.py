"""LiteRT's GPU accelerator: what it says of a file, and what it computes.

The accelerator of the `ai_edge_litert` package runs on whatever adapter the Vulkan loader finds. It reads operators as
the phones' GPU delegate does, and refuses what that refuses; a static check of the file does neither. It runs in a
process of its own (`gpu_process`): its verdict stands in what it logs, and a driver may take its process down.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtseg_jax.errors import UserError

SOFTWARE_ADAPTER = Path.home() / ".cache" / "rtseg_jax" / "swiftshader"
"""Where `launch/swiftshader.sh` puts a Vulkan driver in software; used where the machine has no other."""

HOW_TO_GET_ONE = "this machine has no Vulkan adapter; launch/swiftshader.sh installs one in software (Debian, Ubuntu)"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the accelerator said of a file.

    Attributes:
      adapter: what it ran on.
      partitions: parts of the graph that it took; one where it took everything.
      refused: operators that it left to the CPU, with its reasons.
      error: why it could not be run, or None.
    """

    adapter: str
    partitions: int
    refused: tuple[str, ...]
    error: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether it took the whole graph, in one piece."""
        return self.error is None and not self.refused and self.partitions == 1


@dataclasses.dataclass(frozen=True)
class GpuRun:
    """A file on the accelerator.

    Attributes:
      verdict: what it said.
      outputs: of every picture, in order; none where it did not take the whole graph.
      milliseconds: of every run, input and output copied, in order.
    """

    verdict: Verdict
    outputs: tuple[np.ndarray, ...]
    milliseconds: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Job:
    """What to run.

    Attributes:
      model: the file.
      inputs: pictures as the file takes them, each of which is run on its own; none to run it on random numbers.
      repeats: runs of each.
      full_precision: whether to compute in float32; adapters with float16 otherwise use that, as phones do.
    """

    model: bytes
    inputs: tuple[np.ndarray, ...] = ()
    repeats: int = 1
    full_precision: bool = True


class NoAdapter(UserError):
    """The machine has nothing to run the accelerator on."""


def run_on_gpu(jobs: Sequence[Job]) -> list[GpuRun]:
    """Compiles and runs every job on the host's GPU accelerator, on the first adapter that there is.

    Raises:
      NoAdapter: there is none.
    """
    for environment in _environments():
        runs = _run(jobs, environment)
        if runs is not None:
            return runs
    raise NoAdapter(HOW_TO_GET_ONE)


def parse_log(log: str) -> Verdict:
    """Reads the verdict out of what the accelerator logged while it compiled one file."""
    adapter = re.search(r"Selected adapter: (.*)", log)
    refused = re.search(
        r"Following operations are not supported by GPU delegate:\n(.*?)\n\d+ operations? will", log, re.S
    )
    lines = refused.group(1).splitlines() if refused else []
    return Verdict(
        adapter=adapter.group(1) if adapter else "unknown",
        partitions=len(re.findall(r"Initializing \S+ API from graph", log)),
        refused=tuple(line.strip() for line in lines if line.strip()),
    )


def has_no_adapter(log: str) -> bool:
    """Whether compiling failed for want of an adapter."""
    return "No adapters found" in log


def _environments() -> list[dict[str, str]]:
    """The user's own first, then the one with the driver in software."""
    found = [dict(os.environ)]
    if (SOFTWARE_ADAPTER / "vk_swiftshader_icd.json").exists():
        libraries = [str(SOFTWARE_ADAPTER), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        found.append(
            {
                **os.environ,
                "VK_ICD_FILENAMES": str(SOFTWARE_ADAPTER / "vk_swiftshader_icd.json"),
                "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            }
        )
    return found


def _run(jobs: Sequence[Job], environment: dict[str, str]) -> list[GpuRun] | None:
    """All jobs in one child process; None where it finds no adapter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, job in enumerate(jobs):
            (folder / f"{number}.tflite").write_bytes(job.model)
            np.savez(folder / f"{number}_inputs.npz", *job.inputs)
        settings = [{"repeats": job.repeats, "full_precision": job.full_precision} for job in jobs]
        (folder / "jobs.json").write_text(json.dumps(settings))
        command = [sys.executable, "-m", "rtseg_jax.export.gpu_process", name]
        child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        logs = [_read(folder / f"{number}.log") for number in range(len(jobs))]
        if any(map(has_no_adapter, logs)):
            return None
        return [_collect(folder, number, log, child) for number, log in enumerate(logs)]


def _collect(folder: Path, number: int, log: str, child: subprocess.CompletedProcess[str]) -> GpuRun:
    verdict, done = parse_log(log), folder / f"{number}.json"
    if not done.exists():
        ended = f"the process ended with status {child.returncode}: {(child.stderr or log).strip()[-300:]}"
        return GpuRun(dataclasses.replace(verdict, error=ended), (), ())
    result: dict[str, Any] = json.loads(done.read_text())
    if result["error"] is not None:
        # Refused operators are an error to the runtime and a finding to us.
        error = None if verdict.refused else result["error"]
        return GpuRun(dataclasses.replace(verdict, error=error), (), ())
    with np.load(folder / f"{number}_outputs.npz") as outputs:
        return GpuRun(verdict, tuple(outputs.values()), tuple(result["milliseconds"]))


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
