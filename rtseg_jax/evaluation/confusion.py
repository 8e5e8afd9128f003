"""Which class was taken for which: counts of one picture."""

import numpy as np
from jaxtyping import Int64, UInt8

from rtseg_jax.labels import IGNORE

Counts = Int64[np.ndarray, "k k_and_none"]


def confusion_matrix(truth: UInt8[np.ndarray, "h w"], prediction: UInt8[np.ndarray, "h w"], num_classes: int) -> Counts:
    """Pixels of class i (rows, truth) predicted as class j (columns); one column more for "no class at all".

    A pixel whose truth is 255 is not counted. A prediction that is no class, such as an ignored id of somebody else's
    label map, goes to the last column: it misses its pixel and is nobody's false positive.

    Raises:
      ValueError: a truth that is neither a class nor 255.
    """
    scored = truth != IGNORE
    rows = truth[scored].astype(np.int64)
    if rows.size and rows.max() >= num_classes:
        raise ValueError(f"truth has the id {rows.max()}, beyond its {num_classes} classes")
    columns = np.minimum(prediction[scored], num_classes)
    cells = np.bincount(rows * (num_classes + 1) + columns, minlength=num_classes * (num_classes + 1))
    return cells.astype(np.int64, copy=False).reshape(num_classes, num_classes + 1)
