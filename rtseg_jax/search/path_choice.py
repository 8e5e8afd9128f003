"""Which operator every mixed block gets: by held-out loss and cost, and only where the evidence is clear."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

CERTAINTY = 2.0  # standard errors by which another path must be better

Change = tuple[str, str]
"""(mixed block, path in the place of the default one)."""


class Evidence(NamedTuple):
    """What one change does to the network.

    Attributes:
      losses: loss with the change minus loss without it, one number per held-out batch.
      cost: what the change adds; negative where it saves some.
    """

    losses: Float[np.ndarray, " n"]
    cost: float

    def value(self, price: float) -> float:
        """Mean loss plus the price of the cost: below 0 the change pays."""
        return float(np.mean(self.losses)) + price * self.cost

    @property
    def error(self) -> float:
        """Standard error of the mean loss."""
        return float(np.std(self.losses, ddof=1) / np.sqrt(len(self.losses)))


def choose_paths(defaults: Mapping[str, str], evidence: Mapping[Change, Evidence], price: float) -> dict[str, str]:
    """The path of every block: the change of lowest value if it is below 0 by two standard errors, else the default.

    Args:
      defaults: path of every mixed block where nothing else is clearly better.
      evidence: of changes of one block at a time; all other blocks have the default path.
      price: loss that a millisecond is worth, see `price_of_narrowing`.
    """
    paths, best = dict(defaults), dict.fromkeys(defaults, 0.0)
    for (block, path), found in evidence.items():
        value = found.value(price)
        if value + CERTAINTY * found.error < 0 and value < best[block]:
            paths[block], best[block] = path, value
    return paths


def price_of_narrowing(loss_before: float, loss_after: float, cost_before: float, cost_after: float) -> float:
    """Loss per saved cost of a network made narrower by worth; never negative."""
    return max(0.0, loss_after - loss_before) / max(1e-9, cost_before - cost_after)
