"""Whether one model is better than another on the same pictures, beyond the luck of which pictures these are."""

import dataclasses

import numpy as np
from jaxtyping import Int64

from rtseg_jax.evaluation.rules import DEFAULT, Rule
from rtseg_jax.evaluation.scores import ClassCounts, mean_iou

CHUNK = 200  # resampled sets that are summed at once


@dataclasses.dataclass(frozen=True)
class Difference:
    """mIoU of the first model less that of the second.

    Attributes:
      value: on the pictures as they are.
      low: lower end of the interval.
      high: its upper end.
      first_better: share of the resampled sets in which the first has the higher mIoU; ties count half.
    """

    value: float
    low: float
    high: float
    first_better: float


def paired_difference(
    first: Int64[np.ndarray, "n 3 k"],
    second: Int64[np.ndarray, "n 3 k"],
    rule: Rule = DEFAULT,
    *,
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Difference:
    """Percentile bootstrap over pictures (Efron & Tibshirani 1993): both models are scored on the same draws.

    Args:
      first: counts of each picture, see `Tally.pictures`.
      second: those of the other model, on the same pictures in the same order.
      rule: how mIoU is taken.
      resamples: number of sets of `n` pictures drawn with replacement.
      seed: of the draws.
      confidence: share of them inside the interval.

    Pictures are taken as independent; frames of one video are not, and its interval is too narrow.
    """
    number, rng = len(first), np.random.default_rng(seed)
    gaps: list[np.ndarray] = []
    for start in range(0, resamples, CHUNK):
        drawn = rng.integers(number, size=(min(CHUNK, resamples - start), number))
        times = np.stack([np.bincount(row, minlength=number) for row in drawn]).astype(np.float64)
        gaps.append(_miou(times, first, rule) - _miou(times, second, rule))
    gap = np.concatenate(gaps)
    gap = gap[~np.isnan(gap)]  # draws without a labelled pixel
    once = np.ones((1, number))
    value = float((_miou(once, first, rule) - _miou(once, second, rule))[0])
    low, high = np.quantile(gap, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(value, float(low), float(high), float(np.mean(gap > 0) + np.mean(gap == 0) / 2))


def _miou(times: np.ndarray, counts: np.ndarray, rule: Rule) -> np.ndarray:
    """mIoU of sets in which picture i stands `times[set, i]` times; float64 sums are exact up to 2⁵³."""
    flat = times @ counts.reshape(len(counts), -1).astype(np.float64)
    return np.asarray(mean_iou(ClassCounts(*np.moveaxis(flat.reshape(len(times), *counts.shape[1:]), 1, 0)), rule))
