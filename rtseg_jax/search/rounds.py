"""The rounds of the search by worth: targets that fall to the one that is asked for, and a decision at each."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rtseg_jax.architecture import Group, Network, NetworkSpec, live_groups
from rtseg_jax.latency import NetworkLatency
from rtseg_jax.models import Architecture
from rtseg_jax.search.decide import Decision, landing_warnings, make_spec
from rtseg_jax.search.worth import (
    Bounds,
    Prices,
    Worth,
    around,
    best_widths,
    full_range,
    kept_channels,
    marginal_worth,
)
from rtseg_jax.search.worth_params import WorthParams

Paths = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Rounds:
    """A search by worth as a sequence of decisions.

    Attributes:
      network: the supernet.
      latency: predicted cost of a network.
      target: cost that the last decision has to meet.
      number: how many decisions there are.
      memory: share that the worth of before keeps at each decision.
    """

    network: Network
    latency: NetworkLatency
    target: float
    number: int
    memory: float
    _known: dict[Any, Prices] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def prices(self, paths: Paths) -> Prices:
        """Costs of widths under these paths; compiled once for each choice of paths."""
        key = tuple(sorted(paths.items()))
        if key not in self._known:
            self._known[key] = Prices(self.groups(paths), self.latency, path_weights(self.network, paths))
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
        return self.target * max(1.0, self.start / self.target) ** left

    def learned(self, arch: WorthParams) -> WorthParams:
        """The worth after the steps since the last decision, and a fresh sum of squares.

        While paths are sampled, a path's own groups have gradients only when it is taken: their mean is divided by its
        probability.
        """
        shares = self._shares(arch)
        first = not any(np.asarray(value).any() for value in arch.worth.values())
        memory = 0.0 if first else self.memory
        worth, squares = {}, {}
        for name, total in arch.squares.items():
            mean = np.asarray(total) / max(1.0, float(arch.steps)) / shares.get(name, 1.0)
            worth[name] = jnp.asarray(memory * np.asarray(arch.worth[name]) + (1 - memory) * mean, jnp.float32)
            squares[name] = jnp.zeros_like(total)
        return arch._replace(worth=worth, squares=squares, steps=jnp.zeros(()))

    def _shares(self, arch: WorthParams) -> dict[str, float]:
        shares: dict[str, float] = {}
        for choice, block in self.network.walk():
            if choice is not None:
                name, path = choice
                probability = float(arch.paths[name][self.network.choices[name].choices.index(path)])
                own = {group.name for op in block.ops for group in op.output.groups}
                shared = {group.name for tensor in block.inputs for group in tensor.groups}
                shares |= dict.fromkeys(own - shared, max(probability, 1e-6))
        return shares

    def kept(self, arch: WorthParams, paths: Paths) -> dict[str, int]:
        """The widths of now, of the groups that these paths leave alive."""
        return {group.name: int(np.asarray(arch.masks[group.name]).sum()) for group in self.groups(paths)}

    def widths(self, arch: WorthParams, paths: Paths, number: int) -> dict[str, int]:
        """The widths that decision `number` takes; the last one may go wherever its target asks."""
        groups = self.groups(paths)
        bounds = around(groups, self.kept(arch, paths))
        price = self.prices(paths)
        if number == self.number and float(price([bounds.low])[0]) > self.target:
            bounds = Bounds(full_range(groups).low, bounds.high)
        return best_widths(groups, self.worth_of(arch), price, self.target_of(number), bounds)

    def decided(self, arch: WorthParams, paths: Paths, widths: Mapping[str, int]) -> WorthParams:
        """The same with the masks of these widths and these paths."""
        kept = kept_channels(self.worth_of(arch), widths)
        masks = dict(arch.masks)
        for name, indices in kept.items():
            mask = np.zeros(len(masks[name]), np.float32)
            mask[indices] = 1.0
            masks[name] = jnp.asarray(mask)
        return arch._replace(masks=masks, paths=path_weights(self.network, paths))

    @staticmethod
    def worth_of(arch: WorthParams) -> dict[str, np.ndarray]:
        """Worth on the host."""
        return {name: np.asarray(value, np.float64) for name, value in arch.worth.items()}

    def explained(self, worth: Worth, paths: Paths, widths: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        """For every live group: its width, its size, and the worth per millisecond of its last and of its next step."""
        return marginal_worth(self.groups(paths), worth, self.prices(paths), widths)

    def decision(self, spec: NetworkSpec, arch: WorthParams, unit: str = "ms") -> Decision:
        """The decided architecture, cut out of the final masks."""
        paths = decided_paths(self.network, arch)
        kept = {group.name: np.flatnonzero(np.asarray(arch.masks[group.name])) for group in self.groups(paths)}
        widths = {name: len(indices) for name, indices in kept.items()}
        cost = float(self.prices(paths)([widths])[0])
        warnings = landing_warnings(cost, self.target, unit)
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
