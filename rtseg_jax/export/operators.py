"""What is inside a TFLite file."""

import collections
import dataclasses
import functools
import math
from typing import Any

from rtseg_jax.export.flatbuffer import unpacked

TYPE_BYTES = {"FLOAT32": 4, "FLOAT16": 2, "INT64": 8, "INT32": 4, "INT16": 2, "INT8": 1, "UINT8": 1, "BOOL": 1}


@dataclasses.dataclass(frozen=True)
class Contents:
    """Operators and tensors of a TFLite file.

    Attributes:
      operators: how often each operator occurs, by its name in the TFLite schema.
      highest_rank: of any tensor.
      high_rank: names of tensors of a rank over 4, which GPU delegates refuse.
      peak_bytes: the most that the feature maps which are alive at once take, in operator order; what a runtime
        allocates at least, weights aside.
    """

    operators: dict[str, int]
    highest_rank: int
    high_rank: tuple[str, ...]
    peak_bytes: int


def inspect(model: bytes) -> Contents:
    """Reads the main graph of a file."""
    file = unpacked(model)
    graph = file.subgraphs[0]
    names = _names("BuiltinOperator")
    codes = operator_codes(file)
    histogram = collections.Counter(names[codes[operator.opcodeIndex]] for operator in graph.operators)
    ranks = {tensor.name.decode(): len(tensor.shape) for tensor in graph.tensors if tensor.shape is not None}
    high = tuple(name for name, rank in ranks.items() if rank > 4)
    return Contents(dict(histogram), max(ranks.values()), high, _peak_bytes(graph))


def operator_codes(file: Any) -> list[int]:
    """Numbers of the operators that a file uses, in the order in which its graphs refer to them; old files have two."""
    return [max(code.builtinCode, code.deprecatedBuiltinCode) for code in file.operatorCodes]


def _peak_bytes(graph: Any) -> int:
    """Largest sum of live tensors: each lives from the operator that writes it to the last one that reads it.

    What is computed from weights alone, such as their full-precision form, is no feature map.
    """
    born = dict.fromkeys((int(tensor) for tensor in graph.inputs), 0)
    dies: dict[int, int] = {}
    for number, operator in enumerate(graph.operators):
        read = [int(tensor) for tensor in operator.inputs if int(tensor) in born]
        written = {int(tensor): number for tensor in operator.outputs} if read else {}
        born |= written
        dies |= dict.fromkeys((*read, *written), number)
    dies |= dict.fromkeys((int(tensor) for tensor in graph.outputs), len(graph.operators) - 1)
    change: collections.Counter[int] = collections.Counter()
    for tensor, death in dies.items():
        change[born[tensor]] += _bytes(graph.tensors[tensor])
        change[death + 1] -= _bytes(graph.tensors[tensor])
    alive, peak = 0, 0
    for number in sorted(change):
        alive += change[number]
        peak = max(peak, alive)
    return peak


def _bytes(tensor: Any) -> int:
    size = math.prod(tensor.shape.tolist()) if tensor.shape is not None else 1
    return size * TYPE_BYTES[_names("TensorType")[tensor.type]]


@functools.cache
def _names(enumeration: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(getattr(schema, enumeration)).items() if not name.startswith("_")}
