"""The pure training step, and the parts it is made of."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from rtseg_jax.architecture import Network
from rtseg_jax.latency import NetworkLatency
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.models.normalization import normalize
from rtseg_jax.search.arch_params import ArchParams, path_probabilities, sample
from rtseg_jax.training.beta_control import BetaControl
from rtseg_jax.training.losses import LossSpec, segmentation_losses, total_loss
from rtseg_jax.training.specs import SearchSpec
from rtseg_jax.training.state import TrainState

Batch = Mapping[str, Any]
Metrics = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class SearchSetup:
    """What the search adds to a step.

    Attributes:
      spec: schedules.
      steps: length of the search.
      latency: predicted milliseconds of a network.
      target_ms: where they should be.
      optimizer: of the architecture parameters.
      unit: what to call these milliseconds.
    """

    spec: SearchSpec
    steps: int
    latency: NetworkLatency
    target_ms: float
    optimizer: optax.GradientTransformation
    unit: str = "ms"

    def temperature(self, step: jax.Array) -> jax.Array:
        """τ falls exponentially from start to end."""
        ratio = self.spec.temperature_end / self.spec.temperature_start
        return self.spec.temperature_start * ratio ** (step / max(1, self.steps - 1))

    def frozen(self, step: jax.Array) -> jax.Array:
        """Whether the paths stay as they are."""
        return step >= int(self.spec.freeze_paths * self.steps)

    def controlled(self, control: BetaControl, latency_ms: Float[Array, ""]) -> BetaControl:
        """The controller of β after a step of this expected latency."""
        return control.after(latency_ms / self.target_ms - 1, self.spec.beta_gain / self.steps, self.spec.beta_limit)


@dataclasses.dataclass(frozen=True)
class StepSetup:
    """Everything a step is a function of besides state and batch.

    Attributes:
      model: the network that is trained; its declaration is `model.network`.
      optimizer: of the weights.
      loss: weights of the terms.
      seed: of sampling and dropout.
      search: None where the architecture is fixed.
      teacher: network whose outputs are distilled, or None.
      augment: augmentation of a batch on the device; None where batches come augmented.
    """

    model: SegmentationNetwork
    optimizer: optax.GradientTransformation
    loss: LossSpec
    seed: int
    search: SearchSetup | None = None
    teacher: SegmentationNetwork | None = None
    augment: Callable[[Batch], Batch] | None = None


def make_step(setup: StepSetup) -> Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics]]:
    """The pure function (state, batch, teacher's variables) → (state, metrics)."""

    def step(state: TrainState, batch: Batch, teacher_variables: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(setup.seed), state.step)
        if setup.augment is not None:
            batch = setup.augment(batch)
        images = normalize(batch["image"])
        teacher_outputs = None
        if setup.teacher is not None:
            teacher_outputs = setup.teacher.apply(teacher_variables, images, auxiliary=True)

        def loss_fn(trained: tuple[Any, ArchParams | None]) -> tuple[jax.Array, tuple[Any, Metrics]]:
            params, arch = trained
            architecture, latency = _architecture(setup.search, setup.model.network, arch, state.step, key)
            variables = {"params": params, "batch_stats": state.batch_stats}
            outputs, updated = _forward(setup.model, variables, images, architecture, key)
            losses = segmentation_losses(outputs, batch["label"], teacher_outputs, setup.loss) | latency.losses
            stats = _keep_unselected(setup.model.network, state.batch_stats, updated, architecture)
            beta_factor = 1.0 if state.beta_control is None else state.beta_control.factor
            total = total_loss(losses, setup.loss, beta_factor)
            return total, (stats, {"losses": losses | {"total": total}, **latency.metrics})

        gradients, (stats, metrics) = jax.grad(loss_fn, has_aux=True)((state.params, state.arch))
        state = _update(setup, state, gradients, stats)
        return _control(setup, state, metrics)

    return step


@dataclasses.dataclass(frozen=True)
class _Latency:
    losses: dict[str, jax.Array]
    metrics: Metrics


def _architecture(
    search: SearchSetup | None, network: Network, arch: ArchParams | None, step: jax.Array, key: jax.Array
) -> tuple[Architecture | None, _Latency]:
    """A sample of the architecture and the expected latency; nothing where there is no search."""
    if search is None or arch is None:
        return None, _Latency({}, {})
    frozen = search.frozen(step)
    settled = arch._replace(
        paths={name: jnp.where(frozen, _certain(value), value) for name, value in arch.paths.items()}
    )
    architecture = sample(network, settled, jax.random.fold_in(key, 1), search.temperature(step))
    probabilities = path_probabilities(settled)
    kept = {name: mask.sum() for name, mask in architecture.masks.items()}
    latency = search.latency(kept, probabilities)
    metrics = {"latency_ms": latency, "kept": kept, "paths": probabilities}
    return architecture, _Latency({"latency": jnp.abs(latency - search.target_ms)}, metrics)


def _certain(logits: jax.Array) -> jax.Array:
    """Logits that no noise can turn: sample and softmax are the most probable path."""
    return 1e4 * jax.nn.one_hot(jnp.argmax(logits), len(logits))


def _forward(
    model: SegmentationNetwork, variables: Any, images: jax.Array, architecture: Architecture | None, key: jax.Array
) -> tuple[Any, Any]:
    outputs, updates = model.apply(
        variables,
        images,
        architecture,
        train=True,
        auxiliary=True,
        mutable=["batch_stats"],
        rngs={"dropout": jax.random.fold_in(key, 2)},
    )
    return outputs, updates.get("batch_stats", {})  # a network without norms has none


def _keep_unselected(network: Network, old: Any, new: Any, architecture: Architecture | None) -> Any:
    """Running statistics of paths that were not selected stay: what they computed was not used."""
    if architecture is None:
        return new
    result = dict(new)
    for mixed in network.mixed_blocks:
        for index, (_, block) in enumerate(mixed.paths, start=1):
            selected = architecture.paths[mixed.name][index] > 0
            result[block.name] = jax.tree.map(
                lambda before, after, selected=selected: jnp.where(selected, after, before),
                old[block.name],
                new[block.name],
            )
    return result


def _update(setup: StepSetup, state: TrainState, gradients: tuple[Any, Any], stats: Any) -> TrainState:
    """Weights and architecture move simultaneously, each by its own optimizer."""
    updates, opt_state = setup.optimizer.update(gradients[0], state.opt_state, state.params)
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=stats,
        opt_state=opt_state,
    )
    if setup.search is None:
        return state
    updates, arch_opt_state = setup.search.optimizer.update(gradients[1], state.arch_opt_state, state.arch)
    return dataclasses.replace(state, arch=optax.apply_updates(state.arch, updates), arch_opt_state=arch_opt_state)


def _control(setup: StepSetup, state: TrainState, metrics: Metrics) -> tuple[TrainState, Metrics]:
    """The state with the factor on β of the next step; metrics tell β of this one."""
    if setup.search is None or state.beta_control is None:
        return state, metrics
    control = setup.search.controlled(state.beta_control, metrics["latency_ms"])
    beta = setup.loss.beta * state.beta_control.factor
    return dataclasses.replace(state, beta_control=control), metrics | {"beta": beta}
