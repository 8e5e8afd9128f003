"""One trained network in 8-bit integers, by TensorFlow's converter and by ai-edge-quantizer.

    python -m benchmarks.quantizers --workdir=WORKDIR [--network=best] [--pictures=40] [--calibration=100]

The table: the numbers of a file and who wrote it, its size, the seconds that calibrating and writing take, what
it loses to the float32 network in mIoU over so many validation pictures, the pixels that get the network's class, and
the milliseconds of files run in turns. Both calibrate on the same training pictures; ai-edge-quantizer rewrites a
float32 file of either converter, and is told by operators what to leave in float32.
"""

import argparse
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
from jaxtyping import UInt8

from rtseg_jax.data import build_dataset
from rtseg_jax.deployment.converting import THREADS, calibration_pictures
from rtseg_jax.deployment.examination import Examination
from rtseg_jax.deployment.trained import NETWORKS, NORMALIZATION, load_trained
from rtseg_jax.errors import UserError
from rtseg_jax.export import tflite
from rtseg_jax.export.flatbuffer import packed, unpacked
from rtseg_jax.export.integer import FLOAT_OPERATORS, Calibrated
from rtseg_jax.export.interpreter import load_interpreter
from rtseg_jax.export.litert import INPUTS
from rtseg_jax.export.parity import TFLiteFunction
from rtseg_jax.export.spec import CONVERTERS, INTEGERS, ExportSpec
from rtseg_jax.latency.devices.host_cpu import HostCpu
from rtseg_jax.latency.turns import in_turns
from rtseg_jax.training.workdir import Workdir

TENSORFLOW, AI_EDGE = "TensorFlow", "ai-edge-quantizer"
SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class Row:
    """One file.

    Attributes:
      numbers: one of `spec.QUANTIZATIONS`.
      writer: who rounded it, and whose float32 file that began from.
      size: bytes.
      seconds: of calibrating and writing.
      lost: points of mIoU below the float32 network.
      agreement: share of pixels that get the network's class.
      ms: lower quartile of a thread's CPU time, of files measured in turns.
    """

    numbers: str
    writer: str
    size: int
    seconds: float
    lost: float
    agreement: float
    ms: float


def measured(examination: Examination, calibration: int) -> list[Row]:
    """Rows of all files of a network that LiteRT takes."""
    pictures = calibration_pictures(examination, calibration)
    written = [
        (numbers, writer, *timed(write))
        for numbers in ("dynamic", *INTEGERS)
        for writer, write in writers(examination, numbers, pictures).items()
    ]
    files = [file for file in written if runs(*file[:3])]
    timings = in_turns(HostCpu(), [model for _, _, model, _ in files])
    return [
        Row(numbers, writer, len(model), seconds, *scored(examination, model), timing.ms)
        for (numbers, writer, model, seconds), timing in zip(files, timings, strict=True)
    ]


def runs(numbers: str, writer: str, model: bytes) -> bool:
    """Whether LiteRT takes a file; says so where it does not."""
    try:
        load_interpreter(model, THREADS)
    except ValueError as error:
        print(f"{numbers}, {writer}: LiteRT refuses the file: {error}", file=sys.stderr)
        return False
    return True


def writers(
    examination: Examination, numbers: str, pictures: UInt8[np.ndarray, "n h w 3"]
) -> dict[str, Callable[[], bytes]]:
    """By name, what writes a file with these numbers, calibrated on pictures."""
    trained, spec = examination.trained, dataclasses.replace(examination.spec, quantize=numbers)

    def by_tensorflow() -> bytes:
        if spec.integers:
            return Calibrated(trained.network, trained.variables, spec, NORMALIZATION, pictures).convert()
        return tflite.convert_network(trained.network, trained.variables, spec, NORMALIZATION)

    def by_ai_edge(converter: str) -> bytes:
        plain = dataclasses.replace(spec, quantize="none", converter=converter)
        model = tflite.convert_network(trained.network, trained.variables, plain, NORMALIZATION)
        return rounded(with_signature(model), pictures, numbers)

    others = {f"{AI_EDGE}, {name}": functools.partial(by_ai_edge, name) for name in CONVERTERS}
    return {TENSORFLOW: by_tensorflow, **others}


def timed(write: Callable[[], bytes]) -> tuple[bytes, float]:
    """What it writes, and the seconds that it takes."""
    began = time.monotonic()
    return write(), time.monotonic() - began


def scored(examination: Examination, model: bytes) -> tuple[float, float]:
    """Points that a file loses, and the share of pixels that get the network's class."""
    file = TFLiteFunction(model, THREADS)
    lost, parity = examination.lost(file), examination.on_cpu(file)
    assert lost is not None  # there are pictures
    assert parity is not None
    return lost, parity.pixel_agreement


def with_signature(model: bytes) -> bytes:
    """The file with a signature, without which ai-edge-quantizer does not run it."""
    from ai_edge_litert import schema_py_generated as schema

    file = unpacked(model)
    graph, signature = file.subgraphs[0], schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs, signature.outputs = (
        [_named(schema.TensorMapT(), number, graph) for number in numbers] for numbers in (graph.inputs, graph.outputs)
    )
    file.signatureDefs = [signature]
    return packed(file)


def _named(entry: Any, number: int, graph: Any) -> Any:
    entry.name, entry.tensorIndex = graph.tensors[number].name, number
    return entry


def rounded(model: bytes, pictures: UInt8[np.ndarray, "n h w 3"], numbers: str) -> bytes:
    """A float32 file with 8-bit weights, and feature maps in 8 bits where `numbers` is not `dynamic`."""
    from ai_edge_quantizer import qtyping, quantizer, recipe_manager

    recipe, operators = recipe_manager.RecipeManager(), qtyping.TFLOperationName
    if numbers == "dynamic":
        recipe.add_dynamic_config(".*", operators.ALL_SUPPORTED, num_bits=8)
    else:
        recipe.add_static_config(".*", operators.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
        for name in ("INPUT", "OUTPUT", *FLOAT_OPERATORS[numbers]):
            recipe.add_quantization_config(".*", operators[name], algorithm_key="no_quantize")
    library = quantizer.Quantizer(bytearray(model), recipe.get_quantization_recipe())
    inputs = [{INPUTS.format(0): picture[None].astype(np.float32)} for picture in pictures]
    ranges = library.calibrate({SIGNATURE: inputs}, num_threads=THREADS) if library.need_calibration else None
    return bytes(library.quantize(ranges, enable_progress_report=False).quantized_model)


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| numbers | written by | kB | seconds | mIoU lost, points | same class, % | ms |", "|---" * 7 + "|"]
    for row in rows:
        figures = f"{row.seconds:.1f} | {row.lost:.2f} | {100 * row.agreement:.2f} | {row.ms:.2f}"
        lines.append(f"| {row.numbers} | {row.writer} | {row.size / 1e3:.0f} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--calibration", type=int, default=100)
    arguments = parser.parse_args()
    try:
        trained = load_trained(Workdir(arguments.workdir), arguments.network)
        data = trained.spec.data
        spec = ExportSpec(data.eval_size)
        examination = Examination(trained, build_dataset(data, trained.info), spec, arguments.pictures)
        print(table(measured(examination, arguments.calibration)))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
