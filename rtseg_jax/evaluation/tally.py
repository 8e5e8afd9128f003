"""Counts of a data set, picture after picture, each at its own size."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, UInt8

from rtseg_jax.evaluation.boundary import boundary_counts
from rtseg_jax.evaluation.confusion import confusion_matrix
from rtseg_jax.evaluation.rules import DEFAULT, Rule
from rtseg_jax.evaluation.scores import ClassCounts, Scores, class_iou, mean_iou, scores_from_confusion


class Tally:
    """Adds up pictures in memory that does not depend on their number.

    Args:
      num_classes: of the data set.
      boundary: whether to count boundary pixels as well.
      pictures: whether to keep what IoU needs of every picture: three numbers per class.
    """

    def __init__(self, num_classes: int, *, boundary: bool = False, pictures: bool = False):
        self.matrix = np.zeros((num_classes, num_classes + 1), np.int64)
        self._boundary = np.zeros((3, num_classes), np.int64) if boundary else None
        self._pictures: list[np.ndarray] | None = [] if pictures else None

    def add(self, truth: UInt8[np.ndarray, "h w"], prediction: UInt8[np.ndarray, "h w"]) -> None:
        """Counts a picture."""
        num_classes = len(self.matrix)
        matrix = confusion_matrix(truth, prediction, num_classes)
        self.matrix += matrix
        if self._boundary is not None:
            self._boundary += boundary_counts(truth, prediction, num_classes)
        if self._pictures is not None:
            self._pictures.append(np.stack(ClassCounts.of(matrix)).astype(np.int32))

    def scores(self, class_names: Sequence[str], rule: Rule = DEFAULT) -> Scores:
        """Of all pictures together."""
        return scores_from_confusion(self.matrix, class_names, rule)

    def boundary_iou(self, class_names: Sequence[str], rule: Rule = DEFAULT) -> tuple[float, dict[str, float]]:
        """Mean by `rule`, and boundary IoU per class that counts."""
        if self._boundary is None:
            raise ValueError("this tally does not count boundaries")
        counts = ClassCounts(*self._boundary)
        iou, counted = class_iou(counts, rule)
        named = zip(class_names, iou, counted, strict=True)
        return float(mean_iou(counts, rule)), {name: float(value) for name, value, use in named if use}

    @property
    def pictures(self) -> Int64[np.ndarray, "n 3 k"]:
        """Truth, predicted and right pixels per picture and class, in the order in which they came."""
        if self._pictures is None:
            raise ValueError("this tally does not keep its pictures")
        return np.array(self._pictures, np.int64).reshape(-1, 3, len(self.matrix))


def picture_miou(pictures: Int64[np.ndarray, "n 3 k"]) -> np.ndarray:
    """Mean IoU of each picture over the classes that occur in it; NaN for a picture without a labelled pixel."""
    return np.asarray(mean_iou(ClassCounts(*np.moveaxis(pictures, 1, 0)), DEFAULT))
