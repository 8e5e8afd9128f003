"""Intersection over union and pixel accuracy from a confusion matrix."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Integer

from rtseg_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Scores:
    """What one evaluation measured; all values are shares in [0, 1]."""

    miou: float
    """Mean of `iou`."""
    iou: Mapping[str, float]
    """Per class that occurs in truth or prediction, in class order."""
    pixel_accuracy: float
    """Share of the labelled pixels that are predicted right."""
    absent: tuple[str, ...]
    """Classes in neither truth nor prediction: they have no IoU and are not in the mean."""

    def __str__(self) -> str:
        """A table of one line per class, for terminals and log files."""
        width = max(len(name) for name in (*self.iou, *self.absent, "pixel accuracy"))
        lines = [f"{name:<{width}}  {100 * value:6.2f} %" for name, value in self.iou.items()]
        lines += [f"{name:<{width}}  absent" for name in self.absent]
        lines += ["-" * (width + 10)]
        lines += [f"{'mIoU':<{width}}  {100 * self.miou:6.2f} %  ({len(self.iou)} classes)"]
        lines += [f"{'pixel accuracy':<{width}}  {100 * self.pixel_accuracy:6.2f} %"]
        return "\n".join(lines)


def scores_from_confusion(matrix: Integer[np.ndarray, "k k"], class_names: Sequence[str]) -> Scores:
    """`IoU_c = TP_c / (TP_c + FP_c + FN_c)` from summed counts (rows truth, columns prediction) and its mean.

    A class in neither truth nor prediction (0/0) is left out of the mean and named; one that is only predicted has
    IoU 0 and counts.
    """
    if len(class_names) != len(matrix):
        raise ValueError(f"{len(class_names)} class names for a confusion matrix of {len(matrix)} classes")
    matrix = matrix.astype(np.int64)
    labelled, right = matrix.sum(), np.diag(matrix)
    if labelled == 0:
        raise UserError("evaluation: no labelled pixel in the validation set, check its label files")
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - right
    iou = {name: float(r / u) for name, r, u in zip(class_names, right, union, strict=True) if u > 0}
    absent = tuple(name for name, u in zip(class_names, union, strict=True) if u == 0)
    return Scores(float(np.mean(list(iou.values()))), iou, float(right.sum() / labelled), absent)
