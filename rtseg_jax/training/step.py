"""The pure training step, and the parts it is made of."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from rtseg_jax.architecture import Network
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.models.normalization import normalize
from rtseg_jax.models.rounding import Numbers
from rtseg_jax.search.cost import Target
from rtseg_jax.training.losses import LossSpec, segmentation_losses, total_loss
from rtseg_jax.training.placement import Placement
from rtseg_jax.training.state import TrainState

Batch = Mapping[str, Any]
Metrics = dict[str, Any]


class Sample(NamedTuple):
    """What a search does to one step.

    Attributes:
      architecture: that the step trains.
      losses: terms that depend on it alone.
      metrics: to be logged.
    """

    architecture: Architecture | None
    losses: dict[str, jax.Array]
    metrics: Metrics


@runtime_checkable
class SearchRule(Protocol):
    """How a search samples architectures, and what it learns from the gradients of `TrainState.arch`."""

    def sample(self, network: Network, state: TrainState, arch: Any, key: jax.Array) -> Sample:
        """The architecture of this step; differentiable in `arch`."""
        ...

    def loss_factor(self, state: TrainState) -> Float[Array, ""] | float:
        """What β is multiplied by in this step."""
        ...

    def learn(self, state: TrainState, gradients: Any, metrics: Metrics) -> tuple[TrainState, Metrics]:
        """The state after a step in which `arch` had these gradients."""
        ...

    @property
    def target(self) -> Target:
        """What the search aims at."""
        ...


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
      main_loss_only: whether the architecture learns nothing from auxiliary heads; their weights do.
      teacher_heads: whether the teacher's auxiliary heads teach the student's.
      placement: of state and batch on the devices; None where there is one device.
      rounding: from which step on, counted from 0, and how the network rounds as its exported file; None: never.
    """

    model: SegmentationNetwork
    optimizer: optax.GradientTransformation
    loss: LossSpec
    seed: int
    search: SearchRule | None = None
    teacher: SegmentationNetwork | None = None
    augment: Callable[[Batch], Batch] | None = None
    main_loss_only: bool = False
    teacher_heads: bool = False
    placement: Placement | None = None
    rounding: tuple[int, Numbers] | None = None


def make_step(setup: StepSetup) -> Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics]]:
    """The pure function (state, batch, teacher's variables) → (state, metrics)."""

    def step(state: TrainState, batch: Batch, teacher_variables: Any) -> tuple[TrainState, Metrics]:
        placement = setup.placement
        if setup.augment is not None:
            batch = setup.augment(batch)
            batch = batch if placement is None else placement.divided(batch)
        key = jax.random.fold_in(jax.random.key(setup.seed), state.step)
        images = normalize(batch["image"])
        weights = state.params if placement is None else placement.gathered(state.params)
        teacher_outputs = None
        if setup.teacher is not None:
            heads = setup.teacher_heads and setup.loss.gamma > 0
            wanted = {"auxiliary": heads, "features": setup.loss.pairwise > 0}
            teacher_variables = teacher_variables if placement is None else placement.gathered(teacher_variables)
            teacher_outputs = setup.teacher.apply(teacher_variables, images, **wanted)

        def derivatives(setup: StepSetup, images: jax.Array) -> tuple[Any, tuple[Any, Metrics]]:
            def loss_fn(trained: tuple[Any, Any]) -> tuple[jax.Array, tuple[Any, Metrics]]:
                params, arch = trained
                sample = _sample(setup, state, arch, key)
                variables = {"params": params, "batch_stats": state.batch_stats}
                outputs, updated = _forward(setup, variables, images, sample.architecture, key)
                if setup.main_loss_only:
                    outputs = _heads_apart(setup, variables, images, sample.architecture, key, outputs)
                losses = segmentation_losses(outputs, batch["label"], teacher_outputs, setup.loss) | sample.losses
                stats = _keep_unselected(setup.model.network, state.batch_stats, updated, sample.architecture)
                total = total_loss(losses, setup.loss, setup.search.loss_factor(state) if setup.search else 1.0)
                return total, (stats, {"losses": losses | {"total": total}, **sample.metrics})

            return jax.grad(loss_fn, has_aux=True)((weights, state.arch))

        if setup.rounding is None:
            gradients, (stats, metrics) = derivatives(setup, images)
        else:
            first, numbers = setup.rounding
            rounded = dataclasses.replace(setup, model=setup.model.clone(numbers=numbers))
            gradients, (stats, metrics) = jax.lax.cond(
                state.step >= first,
                lambda: derivatives(rounded, normalize(batch["image"], numbers)),
                lambda: derivatives(setup, images),
            )
        moved = _update(setup, state, gradients[0], stats)
        return (moved, metrics) if setup.search is None else setup.search.learn(moved, gradients[1], metrics)

    return step


def _sample(setup: StepSetup, state: TrainState, arch: Any, key: jax.Array) -> Sample:
    if setup.search is None:
        return Sample(None, {}, {})
    return setup.search.sample(setup.model.network, state, arch, jax.random.fold_in(key, 1))


def _forward(
    setup: StepSetup, variables: Any, images: jax.Array, architecture: Architecture | None, key: jax.Array
) -> tuple[Any, Any]:
    outputs, updates = setup.model.apply(
        variables,
        images,
        architecture,
        train=True,
        auxiliary=setup.loss.gamma > 0,
        features=setup.teacher is not None and setup.loss.pairwise > 0,
        mutable=["batch_stats"],
        rngs={"dropout": jax.random.fold_in(key, 2)},
    )
    # Without auxiliary heads their statistics are not among what was updated; a network without norms has none.
    return outputs, {**variables["batch_stats"], **updates.get("batch_stats", {})}


def _heads_apart(
    setup: StepSetup, variables: Any, images: jax.Array, architecture: Architecture | None, key: jax.Array, outputs: Any
) -> Any:
    """The same outputs, with auxiliary ones whose gradient does not reach the architecture.

    Gradients of both losses add up where both heads read the same map, so they need a backward pass each. The forward
    pass is the same computation twice, of which XLA leaves one, and backward the heads reach the segment branch alone.
    """
    heads, _ = _forward(setup, variables, images, jax.lax.stop_gradient(architecture), key)
    return {**outputs, "auxiliary": heads["auxiliary"]}


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


def _update(setup: StepSetup, state: TrainState, gradients: Any, stats: Any) -> TrainState:
    """Weights move; the architecture stays."""
    gradients = gradients if setup.placement is None else setup.placement.shared_out(gradients)
    updates, opt_state = setup.optimizer.update(gradients, state.opt_state, state.params)
    return dataclasses.replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=stats,
        opt_state=opt_state,
    )
