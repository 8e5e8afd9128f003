"""Exported networks against the same network in other runtimes: one machine, one run.

    python -m benchmarks.peers --workdir=W --size=512x1024 --threads=1 --json=peers.json

Times the searched network of a workdir (if given) and BiSeNetV2 in LiteRT, and BiSeNetV2 in JAX, ONNX Runtime and
PyTorch: batch 1, float32 pictures with values 0..255, normalized inside, logits at picture size. BiSeNetV2 has random
weights, the same everywhere; int8 is calibrated on drawn streets, which is enough to time it and says nothing of
accuracy. Before anything is timed, all logits are compared with those of JAX: float32 must agree.

The networks take turns, so that a slow minute hits all alike; every ratio is the median over rounds of the ratio to the
reference in the same round. PyTorch and ONNX Runtime are optional (`benchmarks/requirements.txt`): what is missing or
fails is a row that says so.
"""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import os
import random
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import runtimes
from benchmarks.runtimes import Seconds, Worker
from rtseg_jax.architecture import ArchSpec, Network, counts, declare
from rtseg_jax.errors import UserError
from rtseg_jax.files import write_json
from rtseg_jax.latency.backend import processor_name
from rtseg_jax.zoo import BiSeNetV2

BISENETV2 = BiSeNetV2(19)
PARAMETERS = 3_358_627  # of BiSeNetV2 as published
QUANTIZATIONS = ("none", "fp16", "int8")
REFERENCE = ("BiSeNetV2", "LiteRT", "float32")
LARGEST_DIFFERENCE = 1e-4  # of a float32 logit, over the largest
CALIBRATION_PICTURES = 16
PACKAGES = ("ai-edge-litert", "jax", "jaxlib", "onnxruntime", "torch")
HOW_TO_INSTALL = "pip install -r benchmarks/requirements.txt -c constraints.txt"

Size = tuple[int, int]


@dataclasses.dataclass
class Row:
    """One network in one runtime.

    Attributes:
      name: network, runtime, numbers.
      parameters: of the network, auxiliary heads aside.
      gmacs: of one picture.
      worker: holds it; None where it could not be made.
      skipped: why.
      difference: largest difference of a logit from JAX, over the largest logit.
      agreement: share of pixels with the class that JAX gives them.
      rounds: what was timed.
    """

    name: tuple[str, str, str]
    parameters: int
    gmacs: float
    worker: Worker | None = None
    skipped: str = ""
    difference: float = float("nan")
    agreement: float = float("nan")
    rounds: list[list[Seconds]] = dataclasses.field(default_factory=list)

    @property
    def clock(self) -> dict[str, list[list[float]]]:
        """Seconds of every round, by clock."""
        return {name: [[getattr(run, name) for run in runs] for runs in self.rounds] for name in Seconds._fields}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network to be timed: its declaration and weights, files by their numbers, and the logits of JAX."""

    name: str
    network: Network
    variables: Any
    files: dict[str, bytes]
    logits: np.ndarray


def street_pictures(size: Size, number: int) -> np.ndarray:
    """Drawn streets."""
    from rtseg_jax.data.synthetic import StreetSource

    source = StreetSource(number, size, seed=0, split="train", num_classes=19)
    return np.stack([source[i]["image"] for i in range(number)])


def subject_of(workdir: str, size: Size) -> Subject:
    """Reads or makes a network and exports it; `workdir` is empty for BiSeNetV2. Loads JAX and TensorFlow."""
    import jax

    from rtseg_jax.deployment.trained import NORMALIZATION, load_trained
    from rtseg_jax.export import tflite
    from rtseg_jax.export.heads import network_function
    from rtseg_jax.export.integer import Calibrated
    from rtseg_jax.export.spec import ExportSpec
    from rtseg_jax.training.workdir import Workdir

    if workdir:
        trained = load_trained(Workdir(workdir))
        network, variables = trained.network, jax.tree.map(np.asarray, trained.variables)
    else:
        network = declare(BISENETV2)
        variables = tflite.random_variables(network)
    warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")  # they are calibrated
    pictures = street_pictures(size, CALIBRATION_PICTURES)
    files = {
        numbers: tflite.convert_network(network, variables, ExportSpec(size, quantize=numbers), NORMALIZATION)
        for numbers in ("none", "fp16")
    }
    calibrated = Calibrated(network, variables, ExportSpec(size, quantize="int8"), NORMALIZATION, pictures)
    function = jax.jit(network_function(network, variables, NORMALIZATION, lowering="native"))
    logits = np.asarray(function(pictures[:1].astype(np.float32)))
    name = "searched" if workdir else "BiSeNetV2"
    return Subject(name, network, variables, {**files, "int8": calibrated.convert()}, logits)


def exported_rows(subject: Subject, picture: np.ndarray, threads: int) -> list[Row]:
    """The files of a network in LiteRT."""
    return [
        start(row_of(subject, "LiteRT", numbers), subject.logits, runtimes.load_litert, file, picture, threads)
        for numbers, file in zip(("float32", "fp16", "int8"), subject.files.values(), strict=True)
    ]


def peer_rows(subject: Subject, picture: np.ndarray, threads: int) -> list[Row]:
    """The network in every other runtime."""
    model, logits = (subject.network, subject.variables), subject.logits
    rows = [start(row_of(subject, "JAX, jitted"), logits, runtimes.load_jax, *model, picture)]
    rows.append(onnx_row(subject, picture, threads))
    for mode in ("eager", "channels last", "compile"):
        row = row_of(subject, f"PyTorch, {mode}")
        row.skipped = missing("torch")
        rows.append(row if row.skipped else start(row, logits, runtimes.load_torch, *model, picture, threads, mode))
    return rows


def onnx_row(subject: Subject, picture: np.ndarray, threads: int) -> Row:
    """The network in ONNX Runtime, by way of PyTorch."""
    row = row_of(subject, "ONNX Runtime")
    row.skipped = missing("torch", "onnx", "onnxscript", "onnxruntime")
    if row.skipped:
        return row
    try:
        file = runtimes.in_child(runtimes.export_onnx, subject.network, subject.variables, picture.shape[1:3])
    except Exception as error:  # whatever a peer trips over is told in its row
        row.skipped = f"not exported: {words(error)}"
        return row
    return start(row, subject.logits, runtimes.load_onnx_runtime, file, picture, threads)


def row_of(subject: Subject, runtime: str, numbers: str = "float32") -> Row:
    """A row without a worker."""
    size = subject.logits.shape[1:3]
    macs = counts.macs(subject.network, size) / 1e9
    return Row((subject.name, runtime, numbers), counts.parameters(subject.network), macs)


def start(row: Row, logits: np.ndarray, load: Callable[..., Any], *arguments: Any) -> Row:
    """Loads the network of a row and compares it with JAX."""
    worker = Worker(load, *arguments)
    try:
        found = worker.start()
    except Exception as error:  # likewise
        worker.stop()
        row.skipped = words(error)
        return row
    row.worker = worker
    row.difference = float(np.abs(found - logits).max() / np.abs(logits).max())
    row.agreement = float((found.argmax(-1) == logits.argmax(-1)).mean())
    return row


def missing(*packages: str) -> str:
    """Says which packages are not installed; empty where all are."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)} ({HOW_TO_INSTALL})" if absent else ""


def words(error: Exception) -> str:
    """First line of an error."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def check(rows: list[Row]) -> None:
    """Raises `UserError` unless BiSeNetV2 is the published one, and one network everywhere."""
    for row in rows:
        if row.name[0] == "BiSeNetV2" and row.parameters != PARAMETERS:
            raise UserError(f"BiSeNetV2 has {row.parameters:,} parameters, not {PARAMETERS:,}")
        if row.worker and row.name[2] == "float32" and not row.difference <= LARGEST_DIFFERENCE:
            raise UserError(f"{', '.join(row.name)}: differs from JAX by {row.difference:.1e}, not the same network")
    reference = next(row for row in rows if row.name == REFERENCE)
    if reference.worker is None:
        raise UserError(f"the reference does not run: {reference.skipped}")


def measure(rows: list[Row], rounds: int, runs: int) -> None:
    """Times the rows in turns; their order changes, so that none always follows the same one."""
    order, shuffle = [row for row in rows if row.worker], random.Random(0)
    for _ in track(range(rounds), "timing", console=Console(stderr=True)):
        shuffle.shuffle(order)
        for row in order:
            row.rounds.append(row.worker.time(runs))


def summary(row: Row, reference: Row) -> dict[str, Any]:
    """What a row says, as plain values."""
    network, runtime, numbers = row.name
    said = {"network": network, "runtime": runtime, "numbers": numbers}
    said |= {"parameters": row.parameters, "gmacs": row.gmacs, "skipped": row.skipped or None}
    if not row.rounds:
        return said
    for clock, rounds in row.clock.items():
        low, median, high = np.percentile(np.concatenate(rounds), (25, 50, 75)) * 1e3
        pairs = zip(rounds, reference.clock[clock], strict=True)
        ratios = [statistics.median(own) / statistics.median(other) for own, other in pairs]
        quartiles = {"lower_quartile_ms": float(low), "upper_quartile_ms": float(high)}
        said[clock] = {"median_ms": float(median), **quartiles, "ratio": statistics.median(ratios)}
    busy = [run.processor / run.wall for runs in row.rounds for run in runs]
    said |= {"difference": row.difference, "agreement": row.agreement}
    return {**said, "threads_busy": statistics.median(busy), "runs": len(busy)}


def table_of(card: dict[str, Any], rows: list[dict[str, Any]]) -> Table:
    """The table; processor time only for one thread, as that of several depends on how they wait."""
    alone = card["threads"] == 1
    title = f"{card['size'][0]}×{card['size'][1]}, batch 1, {card['threads']} thread(s), {card['device']}"
    table = Table(title=title, caption=f"{versions_text(card)}; ratios to {', '.join(REFERENCE)}")
    headers = ["M params", "GMACs", "median ms", "quartiles", "ratio", *(["CPU ms", "CPU ratio"] if alone else [])]
    for header in ("network", "runtime", "numbers"):
        table.add_column(header)
    for header in (*headers, "difference from JAX", "pixels agreeing"):
        table.add_column(header, justify="right")
    for row in rows:
        counted = [f"{row['parameters'] / 1e6:.3f}", f"{row['gmacs']:.2f}"]
        table.add_row(*name_of(row), *counted, *(["skipped"] if row["skipped"] else timing_cells(row, alone)))
    return table


def timing_cells(row: dict[str, Any], alone: bool) -> list[str]:
    """Cells from the median on."""
    wall, processor = row["wall"], row["processor"]
    quartiles = f"{wall['lower_quartile_ms']:.1f}–{wall['upper_quartile_ms']:.1f}"
    cells = [f"{wall['median_ms']:.1f}", quartiles, f"{wall['ratio']:.2f}"]
    cells += [f"{processor['median_ms']:.1f}", f"{processor['ratio']:.2f}"] if alone else []
    return [*cells, f"{row['difference']:.1e}", f"{100 * row['agreement']:.2f} %"]


def notes_of(card: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """What else a reader must know."""
    notes = [f"{', '.join(name_of(row))} skipped: {row['skipped']}" for row in rows if row["skipped"]]
    timed = [row for row in rows if not row["skipped"]]
    for row in timed:
        if row["threads_busy"] > 1.1 * card["threads"]:
            notes.append(f"{', '.join(name_of(row))} kept {row['threads_busy']:.2f} processors busy, more than it may")
    before, after = card["load"]
    if card["threads"] > 1 and before > card["processors"] - card["threads"] + 0.5:
        notes.append("the machine was busy: threads that wait for each other make these figures meaningless")
    return [*notes, f"load of the machine before and after: {before:.1f}, {after:.1f}", card["calibration"]]


def name_of(row: dict[str, Any]) -> tuple[str, str, str]:
    """Network, runtime, numbers."""
    return row["network"], row["runtime"], row["numbers"]


def versions_text(card: dict[str, Any]) -> str:
    """Packages and their versions."""
    return ", ".join(f"{name} {version}" for name, version in card["versions"].items())


def card_of(size: Size, threads: int, rounds: int, runs: int) -> dict[str, Any]:
    """How it was measured."""
    installed = {name: importlib.metadata.version(name) for name in PACKAGES if importlib.util.find_spec(module(name))}
    return {
        "device": processor_name(),
        "processors": len(os.sched_getaffinity(0)),
        "size": size,
        "batch": 1,
        "threads": threads,
        "rounds": rounds,
        "runs_per_round": runs,
        "versions": installed,
        "calibration": f"int8 is calibrated on {CALIBRATION_PICTURES} drawn streets: for timing, not for accuracy",
    }


def module(package: str) -> str:
    """Name by which a package is imported."""
    return package.replace("-", "_")


def size_of(text: str) -> Size:
    """HEIGHTxWIDTH, multiples of 32: at other sizes a mirrored network is not the same."""
    height, width = (int(side) for side in text.lower().split("x"))
    if height < 32 or width < 32 or height % 32 or width % 32:
        raise argparse.ArgumentTypeError(f"{text!r}: both sides must be multiples of 32")
    return height, width


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Makes the networks, checks and times them."""
    runtimes.set_threads(arguments.threads)
    if arguments.workdir:
        ArchSpec.load(Path(arguments.workdir) / "architecture.json")  # says at once where it is not there
    card = card_of(arguments.size, arguments.threads, arguments.rounds, arguments.runs)
    picture = street_pictures(arguments.size, 1).astype(np.float32)
    rows: list[Row] = []
    try:
        for workdir in filter(None, (arguments.workdir,)):
            subject = runtimes.in_child(subject_of, workdir, arguments.size)
            rows += exported_rows(subject, picture, arguments.threads)
        subject = runtimes.in_child(subject_of, "", arguments.size)
        rows += exported_rows(subject, picture, arguments.threads) + peer_rows(subject, picture, arguments.threads)
        check(rows)
        before = os.getloadavg()[0]
        measure(rows, arguments.rounds, arguments.runs)
    finally:
        for row in rows:
            if row.worker:
                row.worker.stop()
    reference = next(row for row in rows if row.name == REFERENCE)
    card["load"] = (before, os.getloadavg()[0])
    return {"card": card, "rows": [summary(row, reference) for row in rows]}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", default="", help="of a run whose searched network was fine-tuned")
    parser.add_argument("--size", type=size_of, default=(512, 1024), help="HEIGHTxWIDTH, multiples of 32")
    parser.add_argument("--threads", type=int, default=1, help="of every runtime")
    parser.add_argument("--rounds", type=int, default=15, help="turns of every network")
    parser.add_argument("--runs", type=int, default=3, help="timed forward passes of a turn")
    parser.add_argument("--json", type=Path, help="a file to write the figures to as well")
    arguments = parser.parse_args()
    try:
        result = run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(table_of(result["card"], result["rows"]))
    for note in notes_of(result["card"], result["rows"]):
        console.print(note, highlight=False)
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
