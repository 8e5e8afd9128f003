"""The rounds of the search by worth: targets that fall to the one that is asked for, and a decision at each."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rtseg_jax.architecture import Group, Network, NetworkSpec, live_groups
from rtseg_jax.models import Architecture
from rtseg_jax.search.cost import NetworkCost, Target
from rtseg_jax.search.decide import Decision, landing_warnings, make_spec
from rtseg_jax.search.ranking import Ranking, Rankings, ranked
from rtseg_jax.search.worth import Bounds, Prices, below, best_widths, full_range, marginal_worth, with_prior
from rtseg_jax.search.worth_params import WorthParams

Paths = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Rounds:
    """A search by worth as a sequence of decisions.

    Attributes:
      network: the supernet.
      cost: predicted, of a network.
      target: what the last decision has to meet.
      number: how many decisions there are.
      prior: how much all groups matter alike, see `worth.with_prior`.
    """

    network: Network
    cost: NetworkCost
    target: Target
    number: int
    prior: float
    _known: dict[Any, Prices] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def prices(self, paths: Paths) -> Prices:
        """Costs of widths under these paths; compiled once for each choice of paths."""
        key = tuple(sorted(paths.items()))
        if key not in self._known:
            self._known[key] = Prices(self.groups(paths), self.cost, path_weights(self.network, paths))
        return self._known[key]

    def groups(self, paths: Paths) -> tuple[Group, ...]:
        """The groups that these paths leave alive."""
        return live_groups(self.network, paths)

    @cached_property
    def start(self) -> float:
        """Cost of the full widths with the default paths."""
        paths = default_paths(self.network)
        groups = self.groups(paths)
        return float(self.prices(paths)([{group.name: group.size for group in groups}])[0])

    def target_of(self, number: int) -> float:
        """What decision `number` (from 1) has to meet: an even fall in the logarithm, ending at the target."""
        left = 1.0 - number / self.number
        return self.target.cost * max(1.0, self.start / self.target.cost) ** left

    def rankings(self, arch: WorthParams) -> dict[str, Ranking]:
        """What the channels of every group are worth, by the gradients of the last steps."""
        return {name: ranked(np.asarray(value), np.asarray(arch.masks[name])) for name, value in arch.samples.items()}

    def kept(self, arch: WorthParams, paths: Paths) -> dict[str, int]:
        """The widths of now, of the groups that these paths leave alive."""
        return {group.name: int(np.asarray(arch.masks[group.name]).sum()) for group in self.groups(paths)}

    def widths(self, arch: WorthParams, rankings: Rankings, paths: Paths, number: int) -> dict[str, int]:
        """The widths that decision `number` takes; the last one may go wherever its target asks."""
        groups = self.groups(paths)
        bounds = below(groups, self.kept(arch, paths))
        price = self.prices(paths)
        if number == self.number and float(price([bounds.low])[0]) > self.target.cost:
            bounds = Bounds(full_range(groups).low, bounds.high)
        totals = with_prior(groups, rankings, self.prior)
        return best_widths(groups, totals, price, self.target_of(number), bounds)

    def decided(self, arch: WorthParams, rankings: Rankings, paths: Paths, widths: Mapping[str, int]) -> WorthParams:
        """The same with the masks of these widths and these paths."""
        masks = dict(arch.masks)
        for name, width in widths.items():
            mask = np.zeros(len(masks[name]), np.float32)
            mask[rankings[name].kept(width)] = 1.0
            masks[name] = jnp.asarray(mask)
        return arch._replace(masks=masks, paths=path_weights(self.network, paths))

    def explained(self, rankings: Rankings, paths: Paths, widths: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        """For every live group: its width, its size, and worth with prior per cost of its last and of its next step."""
        groups = self.groups(paths)
        return marginal_worth(groups, with_prior(groups, rankings, self.prior), self.prices(paths), widths)

    def decision(self, spec: NetworkSpec, arch: WorthParams) -> Decision:
        """The decided architecture, cut out of the final masks."""
        paths = decided_paths(self.network, arch)
        kept = {group.name: np.flatnonzero(np.asarray(arch.masks[group.name])) for group in self.groups(paths)}
        widths = {name: len(indices) for name, indices in kept.items()}
        cost = float(self.prices(paths)([widths])[0])
        warnings = landing_warnings(cost, self.target)
        return Decision(make_spec(spec, self.network, widths, paths), kept, cost, warnings)


def default_paths(network: Network) -> dict[str, str]:
    """The first operator in every mixed block, a convolution: it learns fastest, and is what most blocks end as."""
    return {mixed.name: mixed.choices[1] for mixed in network.mixed_blocks}


def path_weights(network: Network, paths: Paths) -> dict[str, jax.Array]:
    """Weights of the choices of every mixed block under these paths."""
    choices = network.choices
    return {name: jnp.asarray(choices[name].weights(path), jnp.float32) for name, path in paths.items()}


def architecture_of(network: Network, arch: WorthParams, paths: Paths) -> Architecture:
    """The masks of now with these paths."""
    return Architecture(arch.masks, path_weights(network, paths))


def decided_paths(network: Network, arch: WorthParams) -> dict[str, str]:
    """The most probable path of every mixed block."""
    choices = network.choices
    return {name: choices[name].choices[int(np.argmax(np.asarray(value)))] for name, value in arch.paths.items()}
