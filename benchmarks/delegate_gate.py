"""Does the GPU delegate take whatever the search may decide on, and compute the same?

    python -m benchmarks.delegate_gate --number=200 --json=gate.json

Samples architectures (every path in every place, smallest and full widths, odd sizes, several numbers of classes,
every ending and input), exports each with random weights, compiles it on LiteRT's GPU accelerator, and compares what it
computes with JAX. A case passes if the accelerator takes all operators in one partition, logits differ by at most 1e-4
of the largest and class maps in no pixel where the two largest logits differ by more than that, no tensor has a rank
over 4, and no operator is an ARG_MAX. The exit status is 1 if one fails.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.progress import track

from rtseg_jax.architecture import ArchSpec, Group, declare, declare_spec
from rtseg_jax.export import gpu, operators, tflite
from rtseg_jax.export.heads import network_function
from rtseg_jax.export.spec import CONVERTERS, HEADS, INPUTS, JAX2TF, ExportSpec
from rtseg_jax.latency.sampling import living
from rtseg_jax.zoo import RTSeg

LARGEST_DIFFERENCE = 1e-4  # of a float32 logit, over the largest
SIZES = ((64, 128), (129, 129), (96, 160), (97, 65), (33, 127))
CLASSES = (2, 11, 19, 150)
WIDTHS = (0.25, 0.5)
BLOCKS = ((1, 1, 1), (2, 2, 3), (1, 2, 2))
BATCH = 20  # files at once in the child process that runs them
NORMALIZATION = ((0.3, 0.4, 0.5), (0.2, 0.25, 0.3))


@dataclasses.dataclass(frozen=True)
class Case:
    """One architecture, exported in one way."""

    arch: ArchSpec
    spec: ExportSpec


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a case; it passed where `failures` is empty."""

    architecture: str
    network: str
    export: str
    difference: float
    failures: tuple[str, ...]


def sample_case(number: int, converter: str = JAX2TF) -> Case:
    """Case `number` of an endless, reproducible list; paths rotate, so that three cases show every path everywhere."""
    generator = np.random.default_rng([7, number])

    def draw(choices: Sequence[Any]) -> Any:
        return choices[generator.integers(len(choices))]

    network = RTSeg(num_classes=draw(CLASSES), width=draw(WIDTHS), segment_blocks=draw(BLOCKS))
    supernet = declare(network)
    paths = {
        block.name: block.choices[(number + place) % len(block.choices)]
        for place, block in enumerate(supernet.mixed_blocks)
    }

    def width(group: Group) -> int:
        """The smallest in one case of eight, the full one in another, else any."""
        fixed = {0: group.floor, 1: group.size}
        return fixed.get(number % 8, group.snap(int(generator.integers(group.floor, group.size + 1))))

    widths = {group.name: width(group) for group in supernet.searched_groups}
    head, taken = HEADS[number % len(HEADS)], INPUTS[number // 2 % len(INPUTS)]
    spec = ExportSpec(SIZES[number % len(SIZES)], head, taken, converter=converter)
    return Case(living(supernet, ArchSpec(network, widths, paths)), spec)


def check(cases: Sequence[Case]) -> list[Outcome]:
    """Exports the cases and runs them on the accelerator."""
    prepared = [_prepare(case) for case in track(cases, "exporting", disable=len(cases) < 2)]
    runs = gpu.run_on_gpu([job for job, _ in prepared])
    return [judge(case, job.model, run, logits) for case, (job, logits), run in zip(cases, prepared, runs, strict=True)]


def _prepare(case: Case) -> tuple[gpu.Job, np.ndarray]:
    """The file with its input, and the logits of JAX at the size of its output."""
    network = declare_spec(case.arch)
    variables = tflite.random_variables(network)
    model = tflite.convert_network(network, variables, case.spec, NORMALIZATION)
    pictures = np.random.default_rng(0).integers(0, 256, (1, *case.spec.size, 3))
    head = "lowres_logits" if case.spec.head == "lowres_logits" else "logits"
    native = jax.jit(network_function(network, variables, NORMALIZATION, head, lowering="native"))
    given = pictures.astype("uint8" if case.spec.input == "uint8" else "float32")
    return gpu.Job(model, (given,)), np.asarray(native(given))


def judge(case: Case, model: bytes, run: gpu.GpuRun, logits: np.ndarray) -> Outcome:
    """Holds a case against what it must fulfil."""
    contents, failures = operators.inspect(model), []
    if not run.verdict.accepted:
        failures.append(
            f"not delegated: {run.verdict.error or run.verdict.refused}, {run.verdict.partitions} partitions"
        )
    if contents.high_rank:
        failures.append(f"rank over 4: {contents.high_rank}")
    if "ARG_MAX" in contents.operators:
        failures.append("holds an ARG_MAX")
    difference = _difference(run.outputs[0], logits, case.spec.head) if run.outputs else float("nan")
    if run.outputs and difference > LARGEST_DIFFERENCE:
        failures.append(f"differs from JAX by {difference:.1e} of the largest logit")
    network, spec = case.arch.network, case.spec
    return Outcome(
        case.arch.digest,
        f"{network.num_classes} classes, width {network.width}, blocks {network.segment_blocks}, "
        f"{'/'.join(case.arch.paths.values())}",
        f"{spec.size[0]}x{spec.size[1]} {spec.head} {spec.input}",
        difference,
        tuple(failures),
    )


def _difference(found: np.ndarray, logits: np.ndarray, head: str) -> float:
    """Largest difference of a logit over the largest logit; of class maps, how far below the best a choice lies."""
    largest = float(np.abs(logits).max())
    if head != "class_map":
        return float(np.abs(found - logits).max()) / largest
    chosen = np.take_along_axis(logits, found.astype(np.int64), axis=-1)
    return float((logits.max(-1, keepdims=True) - chosen).max()) / largest


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--converter", choices=CONVERTERS, default=JAX2TF)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    outcomes: list[Outcome] = []
    for start in range(0, arguments.number, BATCH):
        numbers = range(start, min(start + BATCH, arguments.number))
        outcomes += check([sample_case(n, arguments.converter) for n in numbers])
        failed = [outcome for outcome in outcomes if outcome.failures]
        print(f"{len(outcomes)} checked, {len(failed)} failed, largest difference {_largest(outcomes):.1e}", flush=True)
    for outcome in failed:
        print(outcome)
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=2))
    sys.exit(bool(failed))


def _largest(outcomes: Sequence[Outcome]) -> float:
    return max(outcome.difference for outcome in outcomes)


if __name__ == "__main__":
    main()
