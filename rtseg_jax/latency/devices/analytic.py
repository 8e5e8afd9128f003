"""Devices that nobody has at hand: a roofline with an overhead per operator, read off a TFLite file.

    T = Σ_op max(MACs / peak, bytes / bandwidth) + overhead

Channels are rounded up to the device's slices, in arithmetic and in memory. Every operator reads its inputs and weights
and writes its outputs in full: nothing is fused, nothing stays in a cache. The constants of a device are in
`NAME.json` beside this file, each with its unit and its source. Such figures are *modelled*, and every card says so.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from rtseg_jax.errors import UserError
from rtseg_jax.export.flatbuffer import unpacked
from rtseg_jax.export.operators import TYPE_BYTES, operator_codes
from rtseg_jax.latency.backend import MODELLED, FileBackend, Timing

DEVICE_FILES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.json"))}
"""Constants of the devices whose figures are modelled."""

UNITS = {
    "peak": "GMAC/s",
    "bandwidth": "GB/s",
    "overhead": "ms per operator",
    "slice": "channels",
    "number": "bytes",
}
PER_MS = 1e6  # 1 GMAC/s is so many MACs in a millisecond


@dataclasses.dataclass(frozen=True)
class Device:
    """Constants of a roofline.

    Attributes:
      name: of the device in configs.
      description: what it stands for.
      peak: GMAC/s that arithmetic reaches at most.
      bandwidth: GB/s between processor and memory.
      overhead: milliseconds that every operator takes besides.
      slice: channels that are stored and computed together.
      number: bytes of a weight or a feature on the device.
    """

    name: str
    description: str
    peak: float
    bandwidth: float
    overhead: float
    slice: int
    number: int

    @staticmethod
    def load(path: Path) -> "Device":
        """Reads a device's file; raises `UserError` where a constant lacks its value, unit or source."""
        try:
            value = json.loads(path.read_text())
            constants = value["constants"]
            sources = {name: (constants[name]["unit"], bool(constants[name]["source"])) for name in UNITS}
            peak, bandwidth, overhead, *whole = (float(constants[name]["value"]) for name in UNITS)
            device = Device(path.stem, str(value["description"]), peak, bandwidth, overhead, *map(int, whole))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: not a device's constants ({error!r}); each has a value, a unit, a source"
            ) from error
        wrong = [name for name, found in sources.items() if found != (UNITS[name], True)]
        if wrong:
            raise UserError(f"{path}: {', '.join(wrong)} must be in {UNITS[wrong[0]]} and name a source")
        if min(device.peak, device.bandwidth, device.slice, device.number) <= 0 or device.overhead < 0:
            raise UserError(f"{path}: a constant is not positive; only overhead may be 0")
        return device

    def milliseconds(self, operators: tuple["Work", ...]) -> float:
        """The roofline of a graph."""
        work = [max(op.macs / (self.peak * PER_MS), op.bytes / (self.bandwidth * PER_MS)) for op in operators]
        return math.fsum(work) + len(operators) * self.overhead


@dataclasses.dataclass(frozen=True)
class Work:
    """What one operator does, with its channels rounded up to slices."""

    macs: int
    bytes: int


class Analytic(FileBackend):
    """A device that is a formula: the same file takes the same time, on every machine."""

    def __init__(self, device: Device):
        self.device, self.name = device, device.name

    def measure(self, model: bytes) -> Timing:
        """Models one file."""
        return Timing(self.device.milliseconds(graph_work(model, self.device.slice, self.device.number)), 1, 0.0)

    def card(self) -> dict[str, Any]:
        """Says what a figure means; constants belong to it, since other ones give other figures."""
        constants = {name: getattr(self.device, name) for name in UNITS}
        listed = ", ".join(f"{name} {constants[name]:g} {unit}" for name, unit in UNITS.items())
        return {
            "device": self.device.description,
            "backend": self.name,
            "runtime": f"none, a roofline over the operators of the TFLite file: {listed}",
            "precision": f"{8 * self.device.number} bits",
            "threads": 1,
            "warmup": 0,
            "runs": 1,
            "statistic": MODELLED,
            "clock": "none",
        }


def graph_work(model: bytes, slice_: int, number: int) -> tuple[Work, ...]:
    """MACs and bytes of every operator of a file's main graph.

    Args:
      model: the TFLite file.
      slice_: channels are rounded up to multiples of it.
      number: bytes of a floating-point number on the device, whatever the file stores.
    """
    from ai_edge_litert import schema_py_generated as schema

    file = unpacked(model)
    graph = file.subgraphs[0]
    codes, reader = operator_codes(file), _Reader(schema, file, slice_, number)
    return tuple(reader.work(codes[op.opcodeIndex], op) for op in graph.operators)


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads the operators of one file."""

    schema: Any
    file: Any
    slice_: int
    number: int

    def work(self, code: int, op: Any) -> Work:
        inputs, outputs = ([int(index) for index in indices if index >= 0] for indices in (op.inputs, op.outputs))
        weights = self._weights(code, inputs)
        moved = sum(self._bytes(index, index == weights) for index in (*inputs, *outputs))
        return Work(self._macs(code, op, inputs, outputs), moved)

    def _weights(self, code: int, inputs: list[int]) -> int | None:
        """The operand that has output channels in front, besides the channels at its end."""
        names = self.schema.BuiltinOperator
        mixing = (names.CONV_2D, names.TRANSPOSE_CONV, names.FULLY_CONNECTED)
        return inputs[1] if code in mixing else None

    def _macs(self, code: int, op: Any, inputs: list[int], outputs: list[int]) -> int:
        names = self.schema.BuiltinOperator
        if code in (names.CONV_2D, names.FULLY_CONNECTED):
            made, *taps, given = self._shape(inputs[1])
            return math.prod((*self._shape(outputs[0])[:-1], *taps)) * self._up(given) * self._up(made)
        if code == names.DEPTHWISE_CONV_2D:
            *taps, channels = self._shape(inputs[1])
            return math.prod((*self._shape(outputs[0])[:-1], *taps)) * self._up(channels)
        if code == names.TRANSPOSE_CONV:  # operands: size of the output, weights, input
            made, *taps, given = self._shape(inputs[1])
            return math.prod((*self._shape(inputs[2])[:-1], *taps)) * self._up(given) * self._up(made)
        if code == names.BATCH_MATMUL:
            *batch, made = self._shape(outputs[0])
            inner = self._shape(inputs[0])[-2 if op.builtinOptions.adjX else -1]
            return math.prod(batch) * self._up(inner) * self._up(made)
        return 0

    def _bytes(self, index: int, weights: bool) -> int:
        """Bytes of a tensor in slices; integers that the file holds are settings of an operator, and free."""
        tensor, kinds = self.file.subgraphs[0].tensors[index], self.schema.TensorType
        floating = tensor.type in (kinds.FLOAT32, kinds.FLOAT16)
        data = self.file.buffers[tensor.buffer].data
        if not floating and data is not None and len(data):
            return 0
        sizes = {getattr(kinds, name): size for name, size in TYPE_BYTES.items()}
        shape = self._shape(index)
        shape = [*shape[:-1], *map(self._up, shape[-1:])]
        if weights:
            shape[0] = self._up(shape[0])
        return math.prod(shape) * (self.number if floating else sizes[tensor.type])

    def _shape(self, index: int) -> list[int]:
        shape = self.file.subgraphs[0].tensors[index].shape
        return [] if shape is None else [int(size) for size in shape]

    def _up(self, channels: int) -> int:
        return -(-channels // self.slice_) * self.slice_
