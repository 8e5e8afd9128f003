"""A controller on β, the weight of the latency term (ours; published: β is constant).

The published term pulls with the same force however wide the gap is. Where the task pulls as hard the other way, or a
gap opens late, when paths freeze and width steps have become short, the expected latency ends beside its target.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

SATURATED_GAP = 0.1  # relative gap from which on β grows no faster: the wide one at the start says nothing of the force


class BetaControl(NamedTuple):
    """What the controller carries from step to step, and into checkpoints.

    Attributes:
      log_factor: log of the factor on β.
      gap: Σ / target − 1 of the step before.
    """

    log_factor: Float[Array, ""]
    gap: Float[Array, ""]

    @staticmethod
    def start() -> "BetaControl":
        """β as configured."""
        return BetaControl(jnp.zeros(()), jnp.zeros(()))

    @property
    def factor(self) -> Float[Array, ""]:
        """What β is multiplied by."""
        return jnp.exp(self.log_factor)

    def after(self, gap: Float[Array, ""], rate: float, limit: float) -> "BetaControl":
        """log f grows while latency stays on one side of its target, and falls when it has crossed it.

            log f ← clip(log f + r · min(|gap| / 0.1, 1), 0, log limit)    on the same side as the step before
            log f ← clip(log f − r, 0, log limit)                          on the other side

        Args:
          gap: Σ / target − 1 of this step.
          rate: r.
          limit: largest factor; the smallest is 1.
        """
        crossed = gap * self.gap < 0
        change = jnp.where(crossed, -1.0, jnp.minimum(jnp.abs(gap) / SATURATED_GAP, 1.0))
        return BetaControl(jnp.clip(self.log_factor + rate * change, 0.0, jnp.log(limit)), gap)
