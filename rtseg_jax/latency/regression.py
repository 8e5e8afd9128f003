"""Non-negative rates of least relative error: of a block's features, and of what lies between blocks."""

from collections.abc import Callable

import numpy as np
import scipy.optimize
from jaxtyping import Float

from rtseg_jax.latency.arrays import Arrays
from rtseg_jax.latency.features import WIDTH_FEATURES
from rtseg_jax.latency.predictor import ROUGH_FEATURES

OUTLIER = 0.03  # relative error from which on a measurement counts as disturbed
RATE_FLOOR = 0.01  # of the rate that the whole latency would give a feature

Solve = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(matrix, what its products with the coefficients should be) → coefficients."""


def rough_rates(blocks: Arrays, times: Float[np.ndarray, " g"]) -> dict[str, np.ndarray]:
    """Non-negative rates of least relative error, none of them quite zero."""
    fixed = [blocks.context[:, :1], np.ones((len(times), 1))]
    relative = np.concatenate([blocks.widths[:, :ROUGH_FEATURES], *fixed], axis=1).astype(np.float64) / times[:, None]
    scale = np.maximum(relative.max(0), 1e-12)
    solution = robust(relative / scale, lambda matrix, wanted: scipy.optimize.nnls(matrix, wanted)[0])
    rates = np.maximum(solution, RATE_FLOOR / len(scale)) / scale
    # What never occurred costs what moving as many numbers costs.
    rates = np.where(relative.max(0) > 0, rates, rates[WIDTH_FEATURES.index("traffic")])
    return {"features": rates[:ROUGH_FEATURES], "operator": rates[-2], "block": rates[-1]}


def network_terms(columns: Float[np.ndarray, "n t"], times: Float[np.ndarray, " n"]) -> np.ndarray:
    """Coefficients of `network_columns` of least relative error; Σ S_b keeps at least half its weight."""
    relative = columns.astype(np.float64) / times[:, None]
    scale = np.maximum(relative.max(0), 1e-12)
    lower = np.zeros(len(scale))
    lower[0] = 0.5 * scale[0]
    return robust(relative / scale, at_least(lower)) / scale


def left_out(
    columns: Float[np.ndarray, "n t"],
    times: Float[np.ndarray, " n"],
    fit: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Float[np.ndarray, " n"]:
    """What every row comes to by the coefficients that `fit` finds for all others."""
    keep = ~np.eye(len(times), dtype=bool)
    return np.asarray([row @ fit(columns[k], times[k]) for row, k in zip(columns, keep, strict=True)])


def at_least(lower: Float[np.ndarray, " k"]) -> Solve:
    """Least squares whose coefficients have lower bounds."""
    return lambda matrix, wanted: scipy.optimize.lsq_linear(matrix, wanted, bounds=(lower, np.inf)).x


def robust(
    relative: Float[np.ndarray, "n k"],
    solve: Solve,
    prior: Float[np.ndarray, " k"] | float = 0.0,
    ridge: Float[np.ndarray, " k"] | float = 1e-2,
) -> Float[np.ndarray, " k"]:
    """Coefficients whose products with every row are near 1; rows that are far off pull less, they were disturbed.

    Args:
      relative: features over latencies.
      solve: least squares with bounds, of a matrix and what its products should be.
      prior: where coefficients stay that no row decides on, such as those of features that always occur together.
      ridge: how much that weighs.
    """
    ridges = np.full(relative.shape[1], ridge) if np.isscalar(ridge) else np.asarray(ridge)
    pull = np.ones(len(relative))
    solution = np.zeros(relative.shape[1])
    for _ in range(8):
        matrix = np.concatenate([relative * pull[:, None], np.diag(ridges)])
        solution = solve(matrix, np.concatenate([pull, ridges * prior]))
        pull = np.minimum(1.0, np.sqrt(OUTLIER / np.maximum(np.abs(relative @ solution - 1), 1e-9)))
    return solution
