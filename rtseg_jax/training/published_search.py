"""The published search: straight-through widths and Gumbel paths, pulled by a term of cost (RTSeg).

`LiteralSearch` is what the paper says, where it says something. `PublishedSearch` mends it; docs/search.md has a table
of what differs and why.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from rtseg_jax.architecture import Network
from rtseg_jax.search.arch_params import ArchParams, path_probabilities, sample
from rtseg_jax.search.cost import NetworkCost, Target
from rtseg_jax.search.estimators import scale_gradient
from rtseg_jax.training.beta_control import BetaControl
from rtseg_jax.training.losses import LossSpec
from rtseg_jax.training.specs import SearchSpec
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import Metrics, Sample

INDICATORS = (0.0, 1.25)  # what they are clipped to: one far from the threshold could never come back
FALLING = 0.5  # share of the search over which the target falls to its end


@dataclasses.dataclass(frozen=True)
class LiteralSearch:
    """Trains `ArchParams` together with the weights, by L_seg + β·|cost − target| + γ·L_aux + λ·L_distill.

    Attributes:
      spec: schedules.
      steps: length of the search.
      cost: predicted, of a network.
      target: where it should be.
      optimizer: of the architecture parameters.
    """

    spec: SearchSpec
    steps: int
    cost: NetworkCost
    target: Target
    optimizer: optax.GradientTransformation

    def temperature(self, step: jax.Array) -> jax.Array:
        """τ falls exponentially from start to end."""
        ratio = self.spec.temperature_end / self.spec.temperature_start
        return self.spec.temperature_start * ratio ** (step / max(1, self.steps - 1))

    def frozen(self, step: jax.Array) -> jax.Array:
        """Whether the paths stay as they are."""
        return step >= int(self.spec.freeze_paths * self.steps)

    def sample(self, network: Network, state: TrainState, arch: ArchParams, key: jax.Array) -> Sample:
        """Thresholded widths and one path per mixed block; the term of cost is of the expected one."""
        frozen, temperature = self.frozen(state.step), self.temperature(state.step)
        settled = arch._replace(
            paths={name: jnp.where(frozen, _certain(value), value) for name, value in arch.paths.items()}
        )
        architecture = sample(network, self.heard(settled, temperature), key, temperature)
        probabilities = path_probabilities(settled)
        kept = {name: mask.sum() for name, mask in architecture.masks.items()}
        cost = self.cost(kept, probabilities)
        metrics = {"cost": cost, "kept": kept, "paths": probabilities}
        return Sample(architecture, {"cost": self.cost_loss(cost, state.step)}, metrics)

    def heard(self, arch: ArchParams, temperature: jax.Array) -> ArchParams:
        """The same parameters, as the task's gradient reaches them."""
        return arch

    def cost_loss(self, cost: Float[Array, ""], step: jax.Array) -> Float[Array, ""]:
        """L_reg."""
        return jnp.abs(cost - self.target.cost)

    def loss_factor(self, state: TrainState) -> Float[Array, ""] | float:
        """β is constant."""
        return 1.0

    def learn(self, state: TrainState, gradients: ArchParams, metrics: Metrics) -> tuple[TrainState, Metrics]:
        """Moves the architecture by its own optimizer."""
        updates, arch_opt_state = self.optimizer.update(gradients, state.arch_opt_state, state.arch)
        arch = optax.apply_updates(state.arch, updates)
        return dataclasses.replace(state, arch=arch, arch_opt_state=arch_opt_state), metrics


@dataclasses.dataclass(frozen=True)
class PublishedSearch(LiteralSearch):
    """The published search, mended: loss against cost at a price that the target sets.

    Where it differs (ours): gradients are divided by what they cost, see `per_cost`; β is the scale of a price
    that is a dual variable, see `BetaControl`, of a target that falls from the supernet's cost; the term of cost is
    signed, and the price never negative; the task's gradient of path logits does not depend on τ; indicators are
    clipped. What the auxiliary losses say is kept from the architecture by the step (`StepSetup.main_loss_only`).

    Attributes:
      loss: its β.
      start_cost: expected before the first step.
    """

    loss: LossSpec = dataclasses.field(kw_only=True)
    start_cost: float = dataclasses.field(kw_only=True)

    def heard(self, arch: ArchParams, temperature: jax.Array) -> ArchParams:
        """The task's part of path gradients times τ: the estimator divides by it, the term of cost does not."""
        return arch._replace(paths={name: scale_gradient(value, temperature) for name, value in arch.paths.items()})

    def target_at(self, step: jax.Array) -> jax.Array:
        """Target of a step: falls by equal factors, so that the task has time to say what should go."""
        left = jnp.maximum(1 - step / (FALLING * self.steps), 0.0)
        return self.target.cost * jnp.maximum(1.0, self.start_cost / self.target.cost) ** left

    def cost_loss(self, cost: Float[Array, ""], step: jax.Array) -> Float[Array, ""]:
        """Cost − target: the Lagrangian's constraint, whose multiplier is never negative."""
        return cost - self.target_at(step)

    def loss_factor(self, state: TrainState) -> Float[Array, ""] | float:
        """Price of a unit of cost over β."""
        return state.beta_control.factor

    def learn(self, state: TrainState, gradients: ArchParams, metrics: Metrics) -> tuple[TrainState, Metrics]:
        """Moves the architecture; metrics tell the price of this step, the state that of the next."""
        slopes, costs = jax.grad(self.cost, argnums=(0, 1))(metrics["kept"], metrics["paths"])
        control: BetaControl = state.beta_control
        beta = self.loss.beta * control.factor
        gap = metrics["cost"] / self.target_at(state.step - 1) - 1  # of the step that has just been counted
        state, metrics = super().learn(state, per_cost(gradients, slopes, costs), metrics)
        widths = {name: jnp.clip(value, *INDICATORS) for name, value in state.arch.widths.items()}
        state = dataclasses.replace(
            state, arch=state.arch._replace(widths=widths), beta_control=control.after(gap, self.steps)
        )
        return state, metrics | {"beta": beta}


def per_cost(
    gradients: ArchParams,
    slopes: dict[str, Float[Array, ""]],
    costs: dict[str, Float[Array, " _"]],
) -> ArchParams:
    """Gradients of the loss over what they cost: every group's by its slope, every block's by its range of paths.

    What cost says is then the price for every indicator, whatever its slope, and what the task says its worth in
    loss per cost. A group that costs nothing, as in a path that cannot be taken any more, does not move.

    Args:
      gradients: task and cost together.
      slopes: cost of an indicator, by group.
      costs: of every path, by mixed block.
    """
    return ArchParams(
        {name: _over(gradient, slopes[name]) for name, gradient in gradients.widths.items()},
        {name: _over(gradient, jnp.ptp(costs[name])) for name, gradient in gradients.paths.items()},
    )


def _over(gradient: jax.Array, cost: jax.Array) -> jax.Array:
    return jnp.where(cost > 0, gradient / jnp.where(cost > 0, cost, 1.0), 0.0)


def _certain(logits: jax.Array) -> jax.Array:
    """Logits that no noise can turn: sample and softmax are the most probable path."""
    return 1e4 * jax.nn.one_hot(jnp.argmax(logits), len(logits))
