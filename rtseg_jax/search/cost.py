"""What networks cost, in the unit of the target: milliseconds, modelled or measured, or what a budget counts."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

NetworkCost = Callable[[Mapping[str, jax.Array], Mapping[str, jax.Array]], jax.Array]
"""(kept indicators by group, weights of its choices by mixed block) → cost; a `latency.NetworkLatency` is one."""

MILLISECONDS = "ms"


@dataclasses.dataclass(frozen=True)
class Target:
    """What a search aims at. Its unit is that of every cost of the run; nothing else knows it.

    Attributes:
      cost: that networks may have.
      unit: of costs, for people: `ms`, `modelled ms`, `GMACs` or `M parameters`.
    """

    cost: float
    unit: str = MILLISECONDS

    def written(self, cost: float) -> str:
        """A cost with its unit."""
        return f"{cost:.3f} {self.unit}"

    def to_json(self) -> dict[str, Any]:
        """As it stands in `results.json`."""
        return {"target_cost": self.cost, "cost_unit": self.unit}
