"""Files whose weights have 8 bits and whose feature maps are floats: which weights are better left as floats.

Runtimes on CPUs compute convolutions of such files in 8 bits, and fast. Depthwise and transposed ones they have no fast
form of: they leave XNNPACK for a plain loop, and the graph is cut in two around each.
"""

from typing import Any

import numpy as np

from rtseg_jax.export.flatbuffer import packed, unpacked
from rtseg_jax.export.operators import operator_codes

WITHOUT_FAST_FORM = ("DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
WEIGHTS = 1  # which of their inputs these are


def with_fast_operators(model: bytes) -> bytes:
    """The same file with float32 weights in operators `WITHOUT_FAST_FORM`; they are what its 8 bits stand for."""
    from ai_edge_litert import schema_py_generated as schema

    file = unpacked(model)
    (graph,) = file.subgraphs
    slow, codes = [getattr(schema.BuiltinOperator, name) for name in WITHOUT_FAST_FORM], operator_codes(file)
    for operator in (operator for operator in graph.operators if codes[operator.opcodeIndex] in slow):
        tensor = graph.tensors[operator.inputs[WEIGHTS]]
        if tensor.type == schema.TensorType.INT8:
            file.buffers[tensor.buffer].data = np.frombuffer(_floats(file, tensor).tobytes(), np.uint8)
            tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
    return packed(file)


def _floats(file: Any, tensor: Any) -> np.ndarray:
    """The values of a tensor of 8-bit numbers."""
    codes = np.asarray(file.buffers[tensor.buffer].data, np.uint8).view(np.int8).reshape(tensor.shape)
    found = tensor.quantization
    along = [1] * codes.ndim
    along[found.quantizedDimension] = -1
    steps, zeros = (np.reshape(values, along) for values in (found.scale, found.zeroPoint))
    return ((codes - zeros) * steps).astype(np.float32)
