"""How far predicted latencies lie from measured ones, and how far they may."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr

INTERVAL_LEVEL = 0.9

NAMES = {"mape": "MAPE", "rmspe": "RMSPE", "median": "median", "p90": "90th percentile", "max": "maximum"}
NAMES |= {"within_5": "within ±5 %", "within_10": "within ±10 %", "spearman": "Spearman"}
"""What to call the figures in tables and plots; that of `coverage` depends on the interval, see `figure_names`."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One prediction beside its measurement, which the predictor was not fitted to.

    Attributes:
      name: of the block or network.
      kind: type of block, or "network".
      measured_ms: greater than zero.
      predicted_ms: greater than zero.
      low_ms: lower end of the prediction's interval; None without one.
      high_ms: upper end, which may be infinite.
    """

    name: str
    kind: str
    measured_ms: float
    predicted_ms: float
    low_ms: float | None = None
    high_ms: float | None = None

    def __post_init__(self):
        if not all(math.isfinite(ms) and ms > 0 for ms in (self.measured_ms, self.predicted_ms)):
            raise ValueError(f"{self.name}: {self.predicted_ms} ms predicted, {self.measured_ms} ms measured")
        if self.interval and not self.interval[0] <= self.interval[1]:
            raise ValueError(f"{self.name}: interval from {self.low_ms} to {self.high_ms} ms")

    @property
    def error(self) -> float:
        """Relative error: 0.03 where the prediction is 3 % above the measurement."""
        return (self.predicted_ms - self.measured_ms) / self.measured_ms

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of the interval in milliseconds."""
        return None if self.low_ms is None or self.high_ms is None else (self.low_ms, self.high_ms)

    @property
    def missed(self) -> bool:
        """Whether there is an interval and the measurement lies outside."""
        return self.interval is not None and not self.interval[0] <= self.measured_ms <= self.interval[1]


def error_figures(points: Sequence[Point]) -> dict[str, float]:
    """Figures of the relative errors e = (predicted − measured) / measured; nothing for no points.

    Returns:
      `mape`, `median`, `p90` and `max` of |e|; `rmspe`, the root of the mean of e²; `within_5` and `within_10`, shares
      of points with |e| up to 5 and 10 %; `spearman`, the rank correlation, where both sides vary; `coverage`, the
      share of intervals that hold the measurement, where there are any. All but `spearman` are shares: 0.03 is 3 %.
    """
    if not points:
        return {}
    errors = np.abs([point.error for point in points])
    figures = {
        "mape": errors.mean(),
        "rmspe": np.sqrt(np.mean(errors**2)),
        "median": np.median(errors),
        "p90": np.quantile(errors, 0.9),
        "max": errors.max(),
        "within_5": np.mean(errors <= 0.05),
        "within_10": np.mean(errors <= 0.1),
    }
    measured, predicted = [point.measured_ms for point in points], [point.predicted_ms for point in points]
    if len(set(measured)) > 1 and len(set(predicted)) > 1:
        figures["spearman"] = spearmanr(measured, predicted).statistic
    missed = [point.missed for point in points if point.interval]
    if missed:
        figures["coverage"] = 1 - np.mean(missed)
    return {name: float(value) for name, value in figures.items()}


def figure_names(interval_level: float) -> dict[str, str]:
    """What to call all figures, where the intervals should hold this share of the measurements."""
    return {**NAMES, "coverage": f"in {100 * interval_level:g} % interval"}


def figure_text(name: str, value: float) -> str:
    """A figure for people: errors and shares in per cent."""
    if name == "spearman":
        return f"{value:.4f}"
    digits = 1 if name in ("within_5", "within_10", "coverage") else 2
    return f"{100 * value:.{digits}f} %"


def conformal_spread(
    predicted: Float[np.ndarray, " n"], measured: Float[np.ndarray, " n"], level: float = INTERVAL_LEVEL
) -> float:
    """Half the width of an interval in log milliseconds: new networks lie within it with probability `level`.

    Split conformal prediction (Vovk et al., 2005): the ⌈level·(n + 1)⌉-th smallest |log(measured / predicted)|; the
    largest one where there are too few. `predicted` must come from models that did not see what they predict.
    """
    errors = np.sort(np.abs(np.log(measured / predicted)))
    return float(errors[min(len(errors), math.ceil(level * (len(errors) + 1))) - 1])
