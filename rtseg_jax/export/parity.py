"""Whether an exported file computes what the JAX network computes."""

import dataclasses
from collections.abc import Callable, Iterable

import jax
import numpy as np
from jaxtyping import Array, Shaped

from rtseg_jax.export.interpreter import inputs_in_order, load_interpreter


@dataclasses.dataclass(frozen=True)
class Parity:
    """Agreement of two versions of a network over some inputs.

    Attributes:
      pictures: how many were compared.
      max_difference: largest absolute difference of an output, over the largest absolute output.
      mean_difference: mean absolute difference, over the same.
      pixel_agreement: share of pixels that get the same class.
    """

    pictures: int
    max_difference: float
    mean_difference: float
    pixel_agreement: float


def compare_outputs(expected: Iterable[np.ndarray], found: Iterable[np.ndarray]) -> Parity:
    """Compares outputs in pairs, batches of logits or of class maps."""
    pictures, largest, difference, total, agreeing = 0, 0.0, 0.0, 0.0, 0.0
    for one, other in zip(expected, found, strict=True):
        errors = np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32))
        largest = max(largest, float(np.abs(one).max()))
        difference = max(difference, float(errors.max()))
        total += float(errors.mean()) * len(one)
        agreeing += float((labels(one) == labels(other)).mean()) * len(one)
        pictures += len(one)
    if pictures == 0:
        raise ValueError("nothing to compare")
    scale = max(largest, 1e-30)
    return Parity(pictures, difference / scale, total / pictures / scale, agreeing / pictures)


def labels(output: Shaped[np.ndarray, "b h w k"]) -> Shaped[np.ndarray, "b h w"]:
    """The class of every pixel: the largest logit, or the number that a class map holds."""
    return output[..., 0].astype(np.int64) if output.shape[-1] == 1 else output.argmax(-1)


def run_tflite(model: bytes, *inputs: np.ndarray, threads: int = 1) -> np.ndarray:
    """The output of a TFLite model that has one; inputs in the order in which the function took them."""
    return TFLiteFunction(model, threads)(*inputs)


class TFLiteFunction:
    """A file with one output, as a function of arrays in the order in which the exported function took them."""

    def __init__(self, model: bytes, threads: int = 1):
        self._interpreter = load_interpreter(model, threads)
        self._inputs = inputs_in_order(self._interpreter)
        (self._output,) = self._interpreter.get_output_details()

    @property
    def input_dtype(self) -> np.dtype:
        """Type of the first input."""
        return np.dtype(self._inputs[0]["dtype"])

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """Runs the file once; inputs are cast to the types that it takes."""
        for detail, value in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], np.asarray(value, detail["dtype"]))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])


def compare(
    model: bytes, function: Callable[[jax.Array], jax.Array], pictures: Shaped[Array | np.ndarray, "n h w 3"]
) -> Parity:
    """Runs a file of batch 1 and a JAX function on every picture, one at a time as on a device."""
    compiled, exported = jax.jit(function), TFLiteFunction(model)
    pairs = [(np.asarray(compiled(p[None])), exported(np.asarray(p[None]))) for p in pictures]
    return compare_outputs([pair[0] for pair in pairs], [pair[1] for pair in pairs])
