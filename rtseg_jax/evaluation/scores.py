"""Intersection over union and accuracies from counts."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num

from rtseg_jax.errors import UserError
from rtseg_jax.evaluation.rules import DEFAULT, LEFT_OUT, ZERO, Rule


class ClassCounts(NamedTuple):
    """Pixels per class, of a picture, of a set, or of many sets at once."""

    truth: Num[np.ndarray, "*sets k"]
    predicted: Num[np.ndarray, "*sets k"]
    right: Num[np.ndarray, "*sets k"]

    @staticmethod
    def of(matrix: Integer[np.ndarray, "k k_or_more"]) -> "ClassCounts":
        """From a confusion matrix; columns beyond the classes are misses."""
        return ClassCounts(matrix.sum(axis=1), matrix[:, : len(matrix)].sum(axis=0), np.diag(matrix))


@dataclasses.dataclass(frozen=True)
class Scores:
    """What one evaluation measured; all values are shares in [0, 1]."""

    miou: float
    """Mean of `iou`."""
    iou: Mapping[str, float]
    """Per class that counts, in class order."""
    pixel_accuracy: float
    """Share of the labelled pixels that are predicted right."""
    mean_accuracy: float
    """Mean over the classes in the truth of the share of their pixels that are predicted right."""
    frequency_weighted_iou: float
    """IoU of the classes in the truth, weighted by their share of the labelled pixels."""
    absent: tuple[str, ...]
    """Classes without a pixel: in neither truth nor prediction, or left out by the rule as not in the truth."""
    rule: Rule = DEFAULT
    """How the mean was taken."""
    others: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Scores that this rule has besides, by name."""

    def as_json(self) -> dict[str, Any]:
        """Plain values, the rule as text."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {"iou": dict(self.iou), "absent": list(self.absent), "others": dict(self.others)}
        return values | {"rule": str(self.rule)}

    def __str__(self) -> str:
        """A table of one line per class, for terminals and log files."""
        means = {
            "mIoU": self.miou,
            "pixel accuracy": self.pixel_accuracy,
            "mean accuracy": self.mean_accuracy,
            "frequency-weighted IoU": self.frequency_weighted_iou,
            **self.others,
        }
        width = max(map(len, (*self.iou, *self.absent, *means)))
        counted = {name: value for name, value in self.iou.items() if name not in self.absent}
        lines = [f"{name:<{width}}  {100 * value:6.2f} %" for name, value in counted.items()]
        note = "absent, counts as 0" if self.rule.absent == ZERO else "absent"
        lines += [f"{name:<{width}}  {note}" for name in self.absent]
        lines += ["-" * (width + 10)]
        lines += [f"{name:<{width}}  {100 * value:6.2f} %" for name, value in means.items()]
        lines[-len(means)] += f"  ({len(self.iou)} classes)"
        return "\n".join(lines)


def scores_from_confusion(
    matrix: Integer[np.ndarray, "k k_or_more"], class_names: Sequence[str], rule: Rule = DEFAULT
) -> Scores:
    """`IoU_c = TP_c / (TP_c + FP_c + FN_c)` from summed counts (rows truth, columns prediction), its mean by `rule`.

    Columns beyond the classes hold predictions of no class: misses.

    Raises:
      UserError: not one labelled pixel.
    """
    if len(class_names) != len(matrix):
        raise ValueError(f"{len(class_names)} class names for a confusion matrix of {len(matrix)} classes")
    matrix = matrix.astype(np.int64)
    counts = ClassCounts.of(matrix)
    labelled = counts.truth.sum()
    if labelled == 0:
        raise UserError("evaluation: no labelled pixel in this split, check its label files")
    present = counts.truth > 0
    iou, counted = class_iou(counts, rule)
    union = counts.truth + counts.predicted - counts.right
    absent = ~present & (union == 0) if rule.only_predicted != LEFT_OUT else ~present
    miou, accuracy = float(mean_iou(counts, rule)), float(counts.right.sum() / labelled)
    return Scores(
        miou,
        {name: float(value) for name, value, use in zip(class_names, iou, counted, strict=True) if use},
        accuracy,
        float(np.mean(counts.right[present] / counts.truth[present])),
        float((iou * counts.truth).sum() / labelled),
        tuple(name for name, away in zip(class_names, absent, strict=True) if away),
        rule,
        _others(matrix, counts, class_names, rule, (miou, accuracy)),
    )


def class_iou(counts: ClassCounts, rule: Rule) -> tuple[Float[np.ndarray, "*sets k"], Bool[np.ndarray, "*sets k"]]:
    """IoU of every class (0 where there is none), and which of them count in the mean."""
    union = counts.truth + counts.predicted - counts.right
    iou = counts.right / np.maximum(union, 1)
    if rule.absent == ZERO:
        return iou, np.ones(union.shape, bool)
    return iou, (counts.truth if rule.only_predicted == LEFT_OUT else union) > 0


def mean_iou(counts: ClassCounts, rule: Rule) -> Float[np.ndarray, "*sets"] | np.floating:
    """Mean IoU of each set; NaN where no class counts."""
    iou, counted = class_iou(counts, rule)
    number = counted.sum(axis=-1)
    return np.where(number > 0, (iou * counted).sum(axis=-1) / np.maximum(number, 1), math.nan)


def group_iou(matrix: Integer[np.ndarray, "k k_or_more"], members: Sequence[Sequence[int]]) -> Float[np.ndarray, " g"]:
    """IoU of groups of classes, each taken as one class; NaN where a group is absent."""
    result = []
    for group in members:
        right = matrix[np.ix_(group, group)].sum()
        union = matrix[group].sum() + matrix[:, group].sum() - right
        result.append(right / union if union else math.nan)
    return np.array(result, float)


def _others(
    matrix: np.ndarray, counts: ClassCounts, names: Sequence[str], rule: Rule, means: tuple[float, float]
) -> dict[str, float]:
    others = {}
    if rule.absent == ZERO:
        others["mIoU of the classes that occur"] = float(mean_iou(counts, DEFAULT))
    if rule.challenge:
        others["challenge score"] = sum(means) / 2
    members = {group: [names.index(n) for n in parts if n in names] for group, parts in rule.groups.items()}
    members = {group: numbers for group, numbers in members.items() if numbers}
    if members:
        values = group_iou(matrix, list(members.values()))
        found = {f"category {group}": float(v) for group, v in zip(members, values, strict=True) if not math.isnan(v)}
        others |= found | {"category mIoU": float(np.mean(list(found.values())))}
    return others
