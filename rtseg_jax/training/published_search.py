"""The published search: straight-through widths and Gumbel paths, pulled by β·|latency − target| (RTSeg)."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from rtseg_jax.architecture import Network
from rtseg_jax.latency import NetworkLatency
from rtseg_jax.search.arch_params import ArchParams, path_probabilities, sample
from rtseg_jax.training.beta_control import BetaControl
from rtseg_jax.training.losses import LossSpec
from rtseg_jax.training.specs import SearchSpec
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import Metrics, Sample


@dataclasses.dataclass(frozen=True)
class PublishedSearch:
    """Trains `ArchParams` together with the weights.

    Attributes:
      spec: schedules.
      steps: length of the search.
      latency: predicted milliseconds of a network.
      target_ms: where they should be.
      optimizer: of the architecture parameters.
      loss: its β.
      unit: what to call these milliseconds.
    """

    spec: SearchSpec
    steps: int
    latency: NetworkLatency
    target_ms: float
    optimizer: optax.GradientTransformation
    loss: LossSpec
    unit: str = "ms"

    def temperature(self, step: jax.Array) -> jax.Array:
        """τ falls exponentially from start to end."""
        ratio = self.spec.temperature_end / self.spec.temperature_start
        return self.spec.temperature_start * ratio ** (step / max(1, self.steps - 1))

    def frozen(self, step: jax.Array) -> jax.Array:
        """Whether the paths stay as they are."""
        return step >= int(self.spec.freeze_paths * self.steps)

    def sample(self, network: Network, state: TrainState, arch: ArchParams, key: jax.Array) -> Sample:
        """Thresholded widths and one path per mixed block; the latency term is the gap of the expected latency."""
        frozen = self.frozen(state.step)
        settled = arch._replace(
            paths={name: jnp.where(frozen, _certain(value), value) for name, value in arch.paths.items()}
        )
        architecture = sample(network, settled, key, self.temperature(state.step))
        probabilities = path_probabilities(settled)
        kept = {name: mask.sum() for name, mask in architecture.masks.items()}
        latency = self.latency(kept, probabilities)
        metrics = {"latency_ms": latency, "kept": kept, "paths": probabilities}
        return Sample(architecture, {"latency": jnp.abs(latency - self.target_ms)}, metrics)

    def loss_factor(self, state: TrainState) -> Float[Array, ""] | float:
        """The controller's factor on β."""
        return 1.0 if state.beta_control is None else state.beta_control.factor

    def learn(self, state: TrainState, gradients: ArchParams, metrics: Metrics) -> tuple[TrainState, Metrics]:
        """Moves the architecture by its own optimizer; metrics tell β of this step, the state that of the next."""
        updates, arch_opt_state = self.optimizer.update(gradients, state.arch_opt_state, state.arch)
        arch = optax.apply_updates(state.arch, updates)
        state = dataclasses.replace(state, arch=arch, arch_opt_state=arch_opt_state)
        if state.beta_control is None:
            return state, metrics
        beta = self.loss.beta * state.beta_control.factor
        control = self.controlled(state.beta_control, metrics["latency_ms"])
        return dataclasses.replace(state, beta_control=control), metrics | {"beta": beta}

    def controlled(self, control: BetaControl, latency_ms: Float[Array, ""]) -> BetaControl:
        """The controller of β after a step of this expected latency."""
        return control.after(latency_ms / self.target_ms - 1, self.spec.beta_gain / self.steps, self.spec.beta_limit)


def _certain(logits: jax.Array) -> jax.Array:
    """Logits that no noise can turn: sample and softmax are the most probable path."""
    return 1e4 * jax.nn.one_hot(jnp.argmax(logits), len(logits))
