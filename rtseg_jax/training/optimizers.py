"""Optimizers: SGD with poly decay for weights, plain steps for the architecture."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rtseg_jax.search.arch_params import ArchParams
from rtseg_jax.training.specs import SearchSpec, TrainSpec


def poly_schedule(rate: float, steps: int, power: float, warmup_steps: int = 0) -> optax.Schedule:
    """lr·(1 − iter/total)^power, after a linear warm-up from zero where one is asked for."""
    decay = optax.polynomial_schedule(rate, 0.0, power, max(1, steps - warmup_steps))
    if not warmup_steps:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup_steps), decay], [warmup_steps])


def weight_optimizer(spec: TrainSpec, phase: str, continued: bool = True) -> optax.GradientTransformation:
    """SGD with momentum; weight decay on kernels only, added to the gradient as in L2 regularization.

    A phase that is `continued` shares the schedule of the phases before it; alone it has one of its own length.
    """
    updates = max(1, spec.schedule_steps(phase, continued) // spec.accumulate)
    warmup = math.ceil(spec.warmup_steps / spec.accumulate)
    schedule = poly_schedule(spec.rate(phase), updates, spec.power, warmup)
    clip = [optax.clip_by_global_norm(spec.clip_norm)] if spec.clip_norm > 0 else []
    chain = optax.chain(
        *clip,
        optax.add_decayed_weights(spec.weight_decay, mask=is_kernel),
        optax.sgd(schedule, momentum=spec.momentum),
    )
    return accumulated(chain, spec.accumulate)


def fresh_momentum(optimizer: optax.GradientTransformation, params: Any) -> Any:
    """The state of an optimizer before its first step, from one program: array by array, each shape is compiled."""
    return jax.jit(optimizer.init)(params)


def is_kernel(params: Any) -> Any:
    """True for every leaf that is a kernel: neither biases nor batch-norm scales decay."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


class Rates(NamedTuple):
    """Step sizes of the architecture.

    Attributes:
      widths: of indicators, at the start.
      paths: of path logits.
      limit: largest gradient that is followed, element by element; beyond it only the sign counts.
    """

    widths: float
    paths: float
    limit: float = math.inf


def architecture_optimizer(spec: SearchSpec, rates: Rates, steps: int, accumulate: int) -> optax.GradientTransformation:
    """Plain gradient steps without weight decay (not published, ours).

    Path logits stop after `freeze_paths` of the search. Width steps shrink linearly to zero: at a constant size the
    costliest groups flip between floor and full width around the target to the end.
    """
    updates = max(1, steps // accumulate)
    frozen_from = int(spec.freeze_paths * updates)

    def path_rate(count: jax.Array) -> jax.Array:
        return jnp.where(count < frozen_from, rates.paths, 0.0)

    width_rate = optax.linear_schedule(rates.widths, 0.0, updates)
    transforms = {"widths": optax.sgd(width_rate), "paths": optax.sgd(path_rate)}
    labels = ArchParams("widths", "paths")  # type: ignore[arg-type]
    steps_of_both = optax.multi_transform(transforms, lambda _: labels)
    return accumulated(optax.chain(optax.clip(rates.limit), steps_of_both), accumulate)


def accumulated(optimizer: optax.GradientTransformation, steps: int) -> optax.GradientTransformation:
    """Averages the gradients of `steps` steps into one update."""
    if steps == 1:
        return optimizer
    return optax.MultiSteps(optimizer, steps).gradient_transformation()
