"""Does every network of the zoo train, export to a file that computes the same, and run on a phone's GPU?

    python -m benchmarks.zoo_gate --out=gate

For each network: three training steps through the real entry point, on drawn streets; a TFLite file with random
weights, which must differ from JAX by at most 1e-4 of the largest logit on the CPU, and on the GPU accelerator where
that takes it; and the accelerator's verdict, with the operators that it refuses. Where a difference is larger, JAX
computes the network in float64 too: what float32 itself is off by is rounding, and a file may be off by twice that.
Each finding is a file in `--out`, written when it is done: the same command goes on where it was stopped. `gate.md` is
the table. The exit status is 1 where a network does not train or does not compute the same; what a GPU refuses, or a
driver that it takes down, is a finding, no failure.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from rtseg_jax.architecture import Network, NetworkSpec, declare, network_class, network_classes
from rtseg_jax.export.spec import CONVERTERS, JAX2TF
from rtseg_jax.files import write_json, write_text
from rtseg_jax.training.workdir import Workdir

LARGEST_DIFFERENCE = 1e-4  # of a logit, over the largest
LARGEST_KERNEL_MIB = 64  # in float32; with larger ones the accelerator gives zeros on a driver in software
SIZE = (64, 128)
CLASSES = 19
STEPS = 3
QUICK_COMPILES = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
GAINS = (1.0, 0.7, 0.5)  # of random kernels: DFANet multiplies maps, HyperSeg's kernels are maps
LARGEST_ROUNDING = 1e-2  # of float32: with more, agreement is chance; logits that overflow prove as little
LAST_WORDS = 500  # characters of what a process said that failed
TRAINING = {
    "phases": "('train',)",
    "batch_size": 2,
    "data.num_train": 10,
    "data.num_validation": 2,
    "data.train_size": "(64, 128)",
    "data.eval_size": "(64, 128)",
    "data.base_size": "(64, 128)",
    "train.pretrain_steps": 1,
    "train.search_steps": 1,
    "train.finetune_steps": 1,
    "train.eval_batch_size": 2,
    "train.log_every": 1,
    "train.num_threads": 1,
    "train.tensorboard": False,
}
"""Fields of the quickstart's config: as many steps as the three phases that it replaces have together."""

RATES = {"lw_refinenet": 0.0001}
"""First learning rates of networks that the quickstart's drives apart: a decoder without norms, from fresh weights."""

Finding = dict[str, Any]


def check_file(spec: NetworkSpec, converter: str = JAX2TF) -> Finding:
    """A file of a network, by one of `CONVERTERS`, on the CPU and on the GPU accelerator."""
    from rtseg_jax.export import gpu, operators

    network, pictures = declare(spec), np.random.default_rng(0).standard_normal((1, *SIZE, 3), np.float32)
    for gain in GAINS:
        model, expected, found = compare(network, gain, converter, pictures)
        if model and found.get("rounding", 0.0) <= LARGEST_ROUNDING:
            break
    if not model:
        return {"failed": f"logits overflow with all random kernels, times {', '.join(map(str, GAINS))}"}
    finding = {"converter": converter, "gain": gain, "operators": operators.inspect(model).operators, **found}
    try:
        (run,) = gpu.run_on_gpu([gpu.Job(model, (pictures,))])
    except gpu.NoAdapter as error:
        return {**finding, "untested": str(error)}
    verdict = run.verdict
    finding |= {"adapter": verdict.adapter, "accepted": verdict.accepted, "partitions": verdict.partitions}
    finding |= {"refused": list(verdict.refused), "error": verdict.error}
    if run.outputs and not run.outputs[0].any():
        kernels = (
            weight for block in network.plain_blocks for weight in block.weights.values() if weight.role == "kernel"
        )
        return {**finding, "zeros_with_kernel_mib": max(4 * math.prod(kernel.shape) for kernel in kernels) / 2**20}
    return {**finding, "gpu_difference": relative(run.outputs[0], expected) if run.outputs else None}


def compare(
    network: Network, gain: float, converter: str, pictures: np.ndarray
) -> tuple[bytes, np.ndarray, dict[str, float]]:
    """A file with random weights, none where logits overflow, what it should compute, and how far off it is."""
    import jax

    from rtseg_jax.export import parity, tflite
    from rtseg_jax.export.heads import network_function
    from rtseg_jax.export.spec import ExportSpec

    variables = with_gain(tflite.random_variables(network), gain)
    expected = np.asarray(jax.jit(network_function(network, variables, lowering="native"))(pictures))
    if not np.isfinite(expected).all():
        return b"", expected, {}
    model = tflite.convert_network(network, variables, ExportSpec(SIZE, converter=converter))
    off = relative(parity.run_tflite(model, pictures), expected)
    if off <= LARGEST_DIFFERENCE:
        return model, expected, {"difference": off}
    rounding = relative(in_float64(network, variables, pictures), expected)
    return model, expected, {"difference": off, "rounding": rounding}


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of a logit, over the largest logit."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def in_float64(network: Network, variables: Finding, pictures: np.ndarray) -> np.ndarray:
    """The logits, computed in twice the precision."""
    import jax
    import jax.numpy as jnp

    from rtseg_jax.models import SegmentationNetwork

    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
        run = jax.jit(SegmentationNetwork(network, jnp.float64, "native").apply)
        return np.asarray(run(wide, jnp.asarray(pictures, jnp.float64))["logits"])


def with_gain(variables: Finding, gain: float) -> Finding:
    """Kernels times a factor."""
    import jax

    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * gain if path[-1].key == "kernel" else leaf, variables
    )


def check_training(spec: NetworkSpec, converter: str = JAX2TF) -> Finding:
    """A few steps through the command that users run; nothing is converted."""
    del converter
    with tempfile.TemporaryDirectory() as folder:
        settings = {"model": spec.name, **TRAINING}
        if spec.name in RATES:
            settings["train.learning_rate"] = RATES[spec.name]
        fields = [f"--config.{name}={value}" for name, value in settings.items()]
        command = [sys.executable, "-m", "rtseg_jax.main", "--config=configs/quickstart.py", f"--workdir={folder}"]
        environment = {**os.environ, "XLA_FLAGS": QUICK_COMPILES}  # much is compiled and little computed
        done = subprocess.run([*command, *fields], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"failed": (done.stdout + done.stderr)[-LAST_WORDS:]}
        workdir = Workdir(folder)
        rows = [json.loads(line) for line in workdir.history.read_text().splitlines()]
        losses = [row["losses"]["total"] for row in rows if "losses" in row]
        return {"losses": losses, "miou": workdir.results()["phases"]["train"]["miou"]}


CHECKS: dict[str, Callable[[NetworkSpec, str], Finding]] = {"file": check_file, "training": check_training}


def failures(finding: Finding) -> list[str]:
    """What is wrong with a network, by one of its findings."""
    found = [finding["failed"]] if "failed" in finding else []
    if finding.get("zeros_with_kernel_mib", LARGEST_KERNEL_MIB) < LARGEST_KERNEL_MIB:
        found.append("zeros on the GPU")
    if finding.get("rounding", 0.0) > LARGEST_ROUNDING:
        found.append(f"float32 itself is off by {finding['rounding']:.1e}: nothing is proved")
    most = max(LARGEST_DIFFERENCE, 2 * finding.get("rounding", 0.0))
    found += [f"{name}: {value:.1e}" for name, value in differences(finding).items() if not value <= most]
    losses = finding.get("losses")
    if losses is not None:
        finite = len(losses) == STEPS and all(0 < loss < float("inf") for loss in losses)
        found += [] if finite and losses[-1] < losses[0] else [f"losses of {STEPS} steps do not fall: {losses}"]
    return found


def differences(finding: Finding) -> dict[str, float]:
    """Of the file from JAX, where it was run."""
    return {name: finding[name] for name in ("difference", "gpu_difference") if finding.get(name) is not None}


def run_missing(names: Sequence[str], checks: Sequence[str], out: Path, converter: str = JAX2TF) -> None:
    """Every check of which there is no finding, in a process of its own; a failed process is a finding."""
    missing = [(check, name) for check in checks for name in names if not finding_path(out, check, name).exists()]
    for check, name in track(missing, "gating"):
        command = [sys.executable, "-m", "benchmarks.zoo_gate", f"--out={out}", f"--converter={converter}"]
        command += [f"--one={name}", f"--checks={check}"]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2", "XLA_FLAGS": QUICK_COMPILES}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            said = {"failed": f"status {done.returncode}: {(done.stdout + done.stderr)[-LAST_WORDS:]}"}
            write_json(finding_path(out, check, name), said)


def finding_path(out: Path, check: str, name: str) -> Path:
    """File of a finding."""
    return out / check / f"{name}.json"


def read(out: Path, check: str, name: str) -> Finding | None:
    """A finding, None where the check was not made."""
    path = finding_path(out, check, name)
    return json.loads(path.read_text()) if path.exists() else None


def table(names: Sequence[str], out: Path) -> str:
    """A line for each network."""
    lines = ["| network | loss of the first and last step | TFLite on the CPU | GPU accelerator |", "|---|---|---|---|"]
    for name in names:
        training, file = read(out, "training", name), read(out, "file", name)
        lines.append(f"| {name} | {training_text(training)} | {file_text(file)} | {gpu_text(file)} |")
    return "\n".join(lines) + "\n"


def training_text(finding: Finding | None) -> str:
    """First and last loss."""
    if finding is None:
        return "not run"
    if "failed" in finding:
        return "**failed**"
    return f"{finding['losses'][0]:.3f}, {finding['losses'][-1]:.3f}"


def file_text(finding: Finding | None) -> str:
    """Largest difference over the largest logit."""
    if finding is None:
        return "not run"
    if "failed" in finding:
        return "**failed**"
    rounding = f" (float32 is {finding['rounding']:.0e} from float64)" if "rounding" in finding else ""
    return f"{finding['difference']:.0e}{rounding}"


def gpu_text(finding: Finding | None) -> str:
    """The verdict, with what is refused."""
    if finding is None or "failed" in finding or "untested" in finding:
        return "not run"
    if "zeros_with_kernel_mib" in finding:
        return f"takes all, gives zeros: a kernel of {finding['zeros_with_kernel_mib']:.0f} MiB"
    if finding["accepted"]:
        return f"all, {finding['gpu_difference']:.0e}"
    kinds = sorted({line.split(":")[0] for line in finding["refused"]})
    return f"refused: {', '.join(kinds)}" if kinds else f"refused, crashed: {finding['error'].split(':')[0]}"


def networks(wanted: Sequence[str]) -> list[str]:
    """Those that train as they are: supernets have phases of their own, see `delegate_gate` and `landing`."""
    return [
        name for name in wanted or sorted(network_classes()) if not declare(network_class(name)(CLASSES)).mixed_blocks
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=lambda text: text.split(","), default=[])
    parser.add_argument("--checks", type=lambda text: text.split(","), default=list(CHECKS))
    parser.add_argument("--converter", choices=CONVERTERS, default=JAX2TF, help="who writes the files")
    parser.add_argument("--one", help="a single network, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        for check in arguments.checks:
            finding = CHECKS[check](network_class(arguments.one)(CLASSES), arguments.converter)
            write_json(finding_path(arguments.out, check, arguments.one), finding)
        return
    names = networks(arguments.networks)
    run_missing(names, arguments.checks, arguments.out, arguments.converter)
    write_text(arguments.out / "gate.md", table(names, arguments.out))
    found = [(check, name, read(arguments.out, check, name)) for check in CHECKS for name in names]
    wrong = [f"{name}, {check}: {said}" for check, name, finding in found if finding for said in failures(finding)]
    print("\n".join([f"{arguments.out / 'gate.md'}: {len(names)} networks, {len(wrong)} failures", *wrong]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
