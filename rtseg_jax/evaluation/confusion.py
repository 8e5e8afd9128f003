"""Predictions from logits, and their confusion matrix with the truth."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32, Integer

from rtseg_jax.labels import IGNORE


def predict_labels(logits: Float[Array, "b h w k"], size: tuple[int, int]) -> Int32[Array, "b {size[0]} {size[1]}"]:
    """The class of every pixel at `size` = (height, width): logits resized bilinearly, then argmax.

    The order matters: scores at label size come from interpolated logits, not from interpolated decisions.
    """
    logits = logits.astype(jnp.float32)
    if logits.shape[1:3] != size:
        logits = jax.image.resize(logits, (logits.shape[0], *size, logits.shape[3]), "bilinear")
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def confusion_matrix(
    predictions: Integer[Array, "b h w"], labels: Integer[Array, "b h w"], valid: Bool[Array, " b"], num_classes: int
) -> Int32[Array, "{num_classes} {num_classes}"]:
    """Pixels of class i (rows, truth) predicted as class j (columns), over the valid pictures and labelled pixels.

    Predictions are classes, labels are classes or 255 = not scored. int32: exact for a batch of less than 2³¹ pixels;
    sum batches with `sum_confusions`.
    """
    predictions, labels = predictions.astype(jnp.int32), labels.astype(jnp.int32)
    scored = valid[:, None, None] & (labels != IGNORE)
    cells = num_classes * num_classes
    # Pixels that are not scored go to one cell more, which is cut off.
    cell = jnp.where(scored, labels * num_classes + predictions, cells)
    return jnp.bincount(cell.ravel(), length=cells + 1)[:cells].reshape(num_classes, num_classes).astype(jnp.int32)


def sum_confusions(matrices: Iterable[Integer[Array, "k k"] | Integer[np.ndarray, "k k"]]) -> Int[np.ndarray, "k k"]:
    """Sum of the batches' matrices, on the host in int64: a data set may have more pixels than int32 can count."""
    total = np.zeros((), np.int64)
    for matrix in matrices:
        total = total + np.asarray(matrix)
    if total.ndim != 2:
        raise ValueError("no batch to sum: the validation pipeline was empty")
    return total
