"""Whether an exported file computes what the JAX network computes."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float

from rtseg_jax.export.interpreter import load_interpreter


@dataclasses.dataclass(frozen=True)
class Parity:
    """Agreement of two versions of a network over some pictures.

    Attributes:
      pictures: how many were compared.
      max_difference: largest absolute difference of a logit, over the largest absolute logit.
      pixel_agreement: share of pixels that get the same class.
    """

    pictures: int
    max_difference: float
    pixel_agreement: float


def run_tflite(model: bytes, *inputs: np.ndarray) -> np.ndarray:
    """The output of a TFLite model that has one; inputs in the order in which the function took them."""
    interpreter = load_interpreter(model)
    details = interpreter.get_signature_runner().get_input_details() if interpreter.get_signature_list() else {}
    ordered = list(details.values()) or sorted(interpreter.get_input_details(), key=lambda detail: detail["name"])
    for detail, value in zip(ordered, inputs, strict=True):
        interpreter.set_tensor(detail["index"], np.asarray(value, np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def compare(
    model: bytes, function: Callable[[jax.Array], jax.Array], pictures: Float[Array | np.ndarray, "n h w 3"]
) -> Parity:
    """Runs both on every picture, one at a time as on a device.

    Args:
      model: the exported file.
      function: the JAX network, pictures to logits.
      pictures: what the exported file takes.
    """
    largest = difference = agreeing = 0.0
    compiled = jax.jit(function)
    for picture in pictures:
        expected = np.asarray(compiled(picture[None]))
        found = run_tflite(model, np.asarray(picture[None]))
        largest = max(largest, float(np.abs(expected).max()))
        difference = max(difference, float(np.abs(expected - found).max()))
        agreeing += float((expected.argmax(-1) == found.argmax(-1)).mean())
    return Parity(len(pictures), difference / max(largest, 1e-30), agreeing / len(pictures))
