"""Search without a device: multiply-accumulates or parameters in the place of milliseconds."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rtseg_jax.architecture import MIXED, ArchSpec, Block, Group, Network, counts, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.search.cost import NetworkCost, Target

UNITS = {"gmacs": "GMACs", "mparams": "M parameters"}


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a network may cost.

    Attributes:
      kind: `gmacs`, 10⁹ multiply-accumulates, or `mparams`, 10⁶ parameters.
      target: how many.
    """

    kind: str
    target: float

    @staticmethod
    def parse(text: str) -> "Budget":
        """Reads `gmacs:5.7`; raises `UserError` for anything else."""
        kind, _, number = text.partition(":")
        try:
            target = float(number)
        except ValueError:
            target = 0.0
        if kind not in UNITS or not target > 0:
            choices = " or ".join(f"{name}:NUMBER ({unit})" for name, unit in UNITS.items())
            raise UserError(f"config.budget is {text!r}: it must be {choices}, such as gmacs:5.7")
        return Budget(kind, target)

    @property
    def aim(self) -> Target:
        """With its unit."""
        return Target(self.target, UNITS[self.kind])

    def of_network(self, network: Network, image_size: tuple[int, int]) -> NetworkCost:
        """The cost of a network as a function of kept counts and path weights; for milliseconds: `network_latency`."""
        count = self._block_count(image_size)
        walk, choices = tuple(network.walk()), network.choices

        def cost(kept: Mapping[str, jax.Array], weights: Mapping[str, jax.Array]) -> jax.Array:
            def number(group: Group) -> Any:
                return jnp.asarray(kept.get(group.name, group.size), jnp.float32)

            total = jnp.zeros(())
            for choice, block in walk:
                weight: Any = 1.0
                if choice is not None:
                    mixed = choices[choice[0]]
                    weight = weights.get(mixed.name, mixed.weights(MIXED))[mixed.choices.index(choice[1])]
                total += weight * count(block, number)
            return total

        return cost

    def of_arch(self, arch: ArchSpec, image_size: tuple[int, int]) -> float:
        """The cost of a decided network."""
        count = self._block_count(image_size)
        return sum(count(block, counts.all_kept) for block in declare_spec(arch).plain_blocks)

    def _block_count(self, image_size: tuple[int, int]) -> Callable[[Block, counts.Kept], Any]:
        if self.kind == "gmacs":
            return lambda block, kept: counts.block_macs(block, image_size, kept) / 1e9
        return lambda block, kept: counts.block_parameters(block, kept) / 1e6
