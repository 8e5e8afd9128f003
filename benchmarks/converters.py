"""Do both converters write the same, and what does each take?

    python -m benchmarks.converters --number=200 --rows=converters.jsonl

Architecture N of the delegate gate is converted whole by both, and one block of it, another one for every N. Of each
pair it compares operators, the peak of feature maps, names and shapes of inputs and output, and what the files compute
of random inputs. Time is the process's CPU time, tracing included, libraries loaded before; wall time would count
whatever else the machine does. Rows are appended to a file: what is in it is not done again. The exit status is 1 if a
pair differs and `EXPLAINED` does not say why.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.delegate_gate import NORMALIZATION, sample_case
from rtseg_jax.architecture import Block, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.export import operators, tflite
from rtseg_jax.export.interpreter import load_interpreter
from rtseg_jax.export.parity import TFLiteFunction
from rtseg_jax.export.spec import CONVERTERS, JAX2TF, LITERT
from rtseg_jax.files import append_line, read_rows

LARGEST_DIFFERENCE = 1e-6  # of an output, over the largest
NETWORK = "whole network"


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why one operator of litert's stands for several of jax2tf's.

    Attributes:
      instead: what jax2tf writes for each.
      sometimes: what it writes besides for some of them.
      why: in words.
    """

    instead: tuple[str, ...]
    sometimes: tuple[str, ...]
    why: str


EXPLAINED = {
    "MEAN": Explanation(
        ("SUM", "MUL"),
        ("RESHAPE",),
        "a mean over pixels is one operator of litert's; jax2tf writes the sum, the factor 1/n, and a reshape where "
        "the sum dropped its axes",
    ),
}
"""By litert's operator. Everything else must be equal."""

Inputs = Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
    """One program, converted by both.

    Attributes:
      number: of the architecture.
      kind: of the block, or `NETWORK`.
      failures: in what the files differ without an explanation, or why one was not written.
      explained: operators of `EXPLAINED` that only one of them has.
      difference: largest of the outputs, over the largest output; None where one was not written.
      cpu_ms: that each converter took.
    """

    number: int
    kind: str
    failures: tuple[str, ...]
    explained: tuple[str, ...]
    difference: float | None
    cpu_ms: Mapping[str, float]


def unexplained(jax2tf: Mapping[str, int], litert: Mapping[str, int]) -> dict[str, int]:
    """How many more of an operator jax2tf's file has than `EXPLAINED` accounts for; fewer are negative."""
    more = {name: jax2tf.get(name, 0) - litert.get(name, 0) for name in {*jax2tf, *litert, *EXPLAINED}}
    for name, explanation in EXPLAINED.items():
        if more[name] > 0:
            continue
        number = -more.pop(name)
        for other in explanation.instead:
            more[other] = more.get(other, 0) - number
        for other in explanation.sometimes:
            if 0 <= more.get(other, 0) <= number:
                more.pop(other, None)
    return {name: number for name, number in more.items() if number}


def layout(model: bytes) -> dict[str, Any]:
    """What users of a file rely on: signatures; names, shapes and types of inputs and outputs, in order."""
    interpreter = load_interpreter(model)
    details = {"inputs": interpreter.get_input_details(), "outputs": interpreter.get_output_details()}
    tensors = {
        side: [(d["name"], d["shape"].tolist(), np.dtype(d["dtype"]).name) for d in found]
        for side, found in details.items()
    }
    return {"signatures": interpreter.get_signature_list(), **tensors}


def compare(models: Mapping[str, bytes], inputs: Inputs) -> tuple[list[str], list[str], float]:
    """Unexplained and explained differences of two files in words, and that of their outputs over the largest."""
    one, other = models[JAX2TF], models[LITERT]
    outputs = [TFLiteFunction(model)(*inputs) for model in (one, other)]
    found = [operators.inspect(one), operators.inspect(other)]
    failures = []
    histograms = [contents.operators for contents in found]
    if more := unexplained(*histograms):
        failures.append(f"operators that jax2tf has more of: {more}")
    if found[0].peak_bytes != found[1].peak_bytes:
        failures.append(f"peak: {found[0].peak_bytes} against {found[1].peak_bytes} bytes")
    if layout(one) != layout(other):
        failures.append(f"layout: {layout(one)} against {layout(other)}")
    difference = float(np.abs(outputs[0] - outputs[1]).max() / max(1e-30, np.abs(outputs[0]).max()))
    if not difference <= LARGEST_DIFFERENCE:
        failures.append(f"outputs differ by {difference:.1e} of the largest")
    explained = [name for name in EXPLAINED if histograms[0].get(name, 0) < histograms[1].get(name, 0)]
    return failures, explained, difference


def convert_both(number: int, kind: str, convert: Callable[[str], bytes], inputs: Inputs) -> Row:
    """Converts by each, and compares."""
    models, failures, cpu_ms = {}, [], {}
    for converter in CONVERTERS if number % 2 else reversed(CONVERTERS):  # the second finds JAX warmed up
        start = time.process_time()
        try:
            models[converter] = convert(converter)
        except (UserError, RuntimeError, ValueError) as error:
            failures.append(f"{converter} cannot: {(str(error).splitlines() or [repr(error)])[0]}")
        cpu_ms[converter] = 1e3 * (time.process_time() - start)
    if failures:
        return Row(number, kind, tuple(failures), (), None, cpu_ms)
    found, explained, difference = compare(models, inputs)
    return Row(number, kind, tuple(found), tuple(explained), difference, cpu_ms)


def rows_of(number: int) -> list[Row]:
    """A network of the delegate gate, and one of its blocks: the next one, with the next network."""
    case = sample_case(number)
    network, spec, generator = declare_spec(case.arch), case.spec, np.random.default_rng(number)
    variables = tflite.random_variables(network)
    picture = generator.integers(0, 256, (spec.batch, *spec.size, 3)).astype(
        "uint8" if spec.input == "uint8" else "float32"
    )
    block = next_block(network.plain_blocks, number)
    weights = tflite.random_variables(block)
    features = [generator.standard_normal(shape, np.float32) for shape in tflite.block_input_shapes(block, spec.size)]

    def whole(converter: str) -> bytes:
        chosen = dataclasses.replace(spec, converter=converter)
        return tflite.convert_network(network, variables, chosen, NORMALIZATION)

    def alone(converter: str) -> bytes:
        return tflite.convert_block(block, spec.size, weights, converter)

    return [convert_both(number, NETWORK, whole, [picture]), convert_both(number, block.kind, alone, features)]


def next_block(blocks: Sequence[Block], number: int) -> Block:
    """Kinds take turns, then the blocks of a kind."""
    kinds = sorted({block.kind for block in blocks})
    those = [block for block in blocks if block.kind == kinds[number % len(kinds)]]
    return those[number // len(kinds) % len(those)]


def table(rows: Sequence[Row]) -> str:
    """The comparison by kind of block, in Markdown."""
    lines = ["| | pairs | equal | explained | largest difference | jax2tf ms | litert ms | ratio |", "|---" * 8 + "|"]
    for kind in sorted({row.kind for row in rows}, key=lambda kind: (kind == NETWORK, kind)):
        those = [row for row in rows if row.kind == kind]
        ms = {name: statistics.median(row.cpu_ms[name] for row in those) for name in CONVERTERS}
        equal = sum(not row.failures and not row.explained for row in those)
        explained = sum(not row.failures and bool(row.explained) for row in those)
        differences = [row.difference for row in those if row.difference is not None]
        largest = f"{max(differences):.1e}" if differences else "none compared"
        times = f"{ms[JAX2TF]:.0f} | {ms[LITERT]:.0f} | {ms[JAX2TF] / ms[LITERT]:.1f}"
        lines.append(f"| {kind} | {len(those)} | {equal} | {explained} | {largest} | {times} |")
    notes = [f"{name}: {e.why}." for name, e in EXPLAINED.items() if any(name in row.explained for row in rows)]
    notes += [f"{row.kind} of architecture {row.number}: {failure}." for row in rows for failure in row.failures]
    return "\n".join([*lines, "", *notes])


def read(path: Path) -> list[Row]:
    """Rows of a file, a line per architecture; none where there is none."""
    values = [value for line in read_rows(path) for value in line]
    return [Row(**{**v, "failures": tuple(v["failures"]), "explained": tuple(v["explained"])}) for v in values]


def append(path: Path, rows: Sequence[Row]) -> None:
    """Adds the rows of one architecture."""
    append_line(path, json.dumps([dataclasses.asdict(row) for row in rows]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--rows", type=Path, default=Path("converters.jsonl"))
    arguments = parser.parse_args()
    rows = [row for row in read(arguments.rows) if row.number < arguments.number]
    missing = sorted(set(range(arguments.number)) - {row.number for row in rows})
    if missing:
        for converter in CONVERTERS:
            tflite.convert(lambda x: 2 * x, [(1, 2)], converter=converter)  # loads its library
    for number in track(missing, "converting"):
        found = rows_of(number)
        rows += found
        append(arguments.rows, found)
    print(table(rows))
    sys.exit(any(row.failures for row in rows))


if __name__ == "__main__":
    main()
