"""The price of a unit of cost in the mended published search: β as a dual variable (ours; published: β is constant).

A constant β pulls with the same force however wide the gap is: it ends beside its target where the task pulls as hard
the other way, and above it the task has no say. A dual variable rises from 0 while cost is above its target, falls
while it is below, and rests where task and cost balance at the target. It is never negative: cost alone never makes a
network wider.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

SATURATED_GAP = 0.1  # relative gap from which on the price changes no faster
GAIN = 10.0  # e-folds of the price over a search that stays 10 % above its target
DAMPING = 1.0  # e-folds of the price between a gap of 0 and of 10 %: without it the cost swings around its target
LARGEST = 7.0  # log(1 + price / β), so 1,000 times β: what a target out of reach may not outgrow


class BetaControl(NamedTuple):
    """What the controller carries from step to step, and into checkpoints.

    Attributes:
      log_price: log(1 + dual variable / β); β itself is the scale of prices.
      gap: Σ / target − 1 of the step before.
    """

    log_price: Float[Array, ""]
    gap: Float[Array, ""]

    @staticmethod
    def start() -> "BetaControl":
        """A price of 0."""
        return BetaControl(jnp.zeros(()), jnp.zeros(()))

    @property
    def factor(self) -> Float[Array, ""]:
        """Price over β: max(0, exp(log_price + saturated gap) − 1)."""
        return jnp.maximum(jnp.expm1(self.log_price + DAMPING * _saturated(self.gap)), 0.0)

    def after(self, gap: Float[Array, ""], steps: int) -> "BetaControl":
        """log_price ← clip(log_price + 10 / steps · clip(gap / 0.1, −1, 1), 0, 7).

        Near 0 the price rises by steps of equal size, above β by equal factors, so that it gets anywhere in time.

        Args:
          gap: Σ / target − 1 of this step.
          steps: length of the search.
        """
        return BetaControl(jnp.clip(self.log_price + GAIN / steps * _saturated(gap), 0.0, LARGEST), gap)


def _saturated(gap: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.clip(gap / SATURATED_GAP, -1.0, 1.0)
