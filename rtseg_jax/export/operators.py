"""What is inside a TFLite file."""

import collections
import dataclasses
import functools


@dataclasses.dataclass(frozen=True)
class Contents:
    """Operators of a TFLite file.

    Attributes:
      operators: how often each operator occurs, by its name in the TFLite schema.
      highest_rank: of any tensor.
    """

    operators: dict[str, int]
    highest_rank: int


def inspect(model: bytes) -> Contents:
    """Reads the main graph of a file."""
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415

    file = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = file.subgraphs[0]
    names = _operator_names()
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in file.operatorCodes]
    histogram = collections.Counter(names[codes[operator.opcodeIndex]] for operator in graph.operators)
    ranks = [len(tensor.shape) for tensor in graph.tensors if tensor.shape is not None]
    return Contents(dict(histogram), max(ranks))


@functools.cache
def _operator_names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415

    return {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
