"""The search by worth, step by step: one sampled path per block, masks as decided, mask gradients kept."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtseg_jax.architecture import Network
from rtseg_jax.search.cost import NetworkCost, Target
from rtseg_jax.search.worth_params import WorthParams, sample_worth
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import Metrics, Sample


@dataclasses.dataclass(frozen=True)
class WorthSearch:
    """Learns what channels are worth; the decisions themselves are made between steps, see `search.worth`.

    Attributes:
      cost: predicted, of a network, to be logged.
      target: where it should end.
    """

    cost: NetworkCost
    target: Target

    def sample(self, network: Network, state: TrainState, arch: WorthParams, key: jax.Array) -> Sample:
        """The masks of now, one sampled path per mixed block; nothing is added to the loss."""
        architecture = sample_worth(arch, key)
        kept = {name: mask.sum() for name, mask in arch.masks.items()}
        cost = self.cost(kept, arch.paths)
        return Sample(architecture, {}, {"cost": cost, "kept": kept, "paths": arch.paths})

    def loss_factor(self, state: TrainState) -> Float[Array, ""] | float:
        """Nothing that costs is in the loss."""
        return 1.0

    def learn(self, state: TrainState, gradients: WorthParams, metrics: Metrics) -> tuple[TrainState, Metrics]:
        """Keeps the gradients of this step in place of the oldest."""
        arch: WorthParams = state.arch
        samples = {
            name: jnp.concatenate([known[1:], gradients.masks[name][None]]) for name, known in arch.samples.items()
        }
        return dataclasses.replace(state, arch=arch._replace(samples=samples)), metrics
