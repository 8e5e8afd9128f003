"""Ranges of values for 8-bit integers, each of one tensor alone.

TensorFlow's calibrator looks at the inputs of an operator once more behind it, for the sake of recurrent cells. By then
sums and products have written their result into the memory of an input, whose range so becomes that of both: what a
transformer adds to its tokens, numbers of 5 beside numbers of 170, was left with 4 of 8 bits, and pictures with 172 of
their 256 levels.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from rtseg_jax.export.flatbuffer import packed, unpacked
from rtseg_jax.export.interpreter import inputs_in_order, load_interpreter

LEAST_RANGE = 1e-6  # TensorFlow's own; XNNPACK refuses files with convolutions whose steps become that small


def with_own_ranges(calibrated: bytes, inputs: Iterable[list[np.ndarray]]) -> bytes:
    """The same file with the ranges that its tensors have on these inputs, each in memory of its own.

    Args:
      calibrated: what TensorFlow's converter writes before it rounds: in float32, with ranges; of one input at least.
      inputs: of the function, on which ranges are measured.
    """
    file = unpacked(calibrated)
    ranges = {n: tensor.quantization for n, tensor in enumerate(file.subgraphs[0].tensors) if _has_range(tensor)}
    interpreter = load_interpreter(calibrated, keep_every_tensor=True)
    places = [detail["index"] for detail in inputs_in_order(interpreter)]
    for found in ranges.values():
        found.min, found.max = [np.inf], [-np.inf]
    for arrays in inputs:
        for place, array in zip(places, arrays, strict=True):
            interpreter.set_tensor(place, array)
        interpreter.invoke()
        for number, found in ranges.items():
            values = interpreter.get_tensor(number)
            found.min, found.max = [min(found.min[0], values.min())], [max(found.max[0], values.max())]
    for found in ranges.values():
        if max(abs(found.min[0]), abs(found.max[0])) < LEAST_RANGE:  # all of it is dead: any steps show zeros
            found.min, found.max = [0.0], [1.0]
    return packed(file)


def _has_range(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.min is not None
