"""Training of S(·), the latency of blocks: the perceptron on top of rates. The same result every time."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from rtseg_jax.latency.arrays import Arrays
from rtseg_jax.latency.features import CONTEXT_FEATURES
from rtseg_jax.latency.predictor import Params, predict_blocks, rough, width_inputs
from rtseg_jax.latency.regression import OUTLIER, rough_rates

UNITS = 32
STEPS = 1000
LEARNING_RATE = 0.01
DECAY = 1.0  # of the perceptron's effective weights, divided by the measurements: of few, the rough latency decides


def fit_blocks(
    blocks: Arrays, target: Float[np.ndarray, " g"], subsets: Sequence[Bool[np.ndarray, " g"]], *, seed: int, steps: int
) -> list[dict[str, Any]]:
    """Fits a block model to each subset of the blocks (truth values); `target` is log milliseconds."""
    frozen = [_prepare(blocks[subset], target[subset]) for subset in subsets]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *frozen)
    start = _initial(jax.random.key(seed), blocks.widths.shape[1] + 1, blocks.context.shape[1])
    weights = jnp.asarray(np.stack(subsets), jnp.float32)
    # Side by side the trainings take as long as one: each is too small to fill a processor.
    data = tuple(jnp.asarray(x, jnp.float32) for x in (blocks.widths, blocks.context, target))
    trained = jax.device_get(_train_each(start, stacked, data, weights, steps))
    return [{**part, **jax.tree.map(lambda x, i=i: x[i], trained)} for i, part in enumerate(frozen)]


def _prepare(seen: Arrays, target: np.ndarray) -> dict[str, Any]:
    """What is known before the perceptron: rates, and the scaling of its inputs."""
    rates = rough_rates(seen, np.exp(target))
    log_rough = np.log(rough({"rates": rates}, seen.widths, seen.context))
    return {
        "rates": jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), rates),
        "widths": _scaling(np.asarray(width_inputs(seen.widths, log_rough))),
        "context": _scaling(seen.context),
        "center": jnp.float32(np.mean(target)),
        "gains": jnp.ones(seen.context.shape[1] - len(CONTEXT_FEATURES)),
    }


@functools.partial(jax.jit, static_argnames="steps")
def _train_each(
    start: Params, frozen: Params, data: tuple[jax.Array, ...], weights: Float[Array, "n g"], steps: int
) -> Params:
    return jax.vmap(lambda frozen, weight: _train(start, frozen, data, weight, steps))(frozen, weights)


def _train(
    start: Params, frozen: Params, data: tuple[jax.Array, ...], weight: Float[Array, " g"], steps: int
) -> Params:
    """Full-batch training of the perceptron and the slope; blocks of weight 0 are not looked at."""
    widths, context, target = data
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))

    def loss(params: Params) -> jax.Array:
        error = jnp.log(predict_blocks({**frozen, **params}, widths, context)) - target
        fit_loss = (weight * optax.huber_loss(error / OUTLIER)).sum()
        return (fit_loss + DECAY * _size(params["layers"])) / weight.sum()

    def step(carry: tuple[Params, Any], _: None) -> tuple[tuple[Params, Any], None]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps)
    return params


def _size(layers: Params) -> jax.Array:
    """Σ of squares of effective weights."""
    first, hidden, last = layers["first"], layers["hidden"], layers["last"]
    positive = [first["widths"], last["kernel"], *(layer["kernel"] for layer in hidden.values())]
    squares = [jnp.square(jax.nn.softplus(kernel)).sum() for kernel in positive]
    return sum(squares, jnp.square(first["context"]).sum())


@functools.partial(jax.jit, static_argnums=(1, 2))
def _initial(key: jax.Array, widths: int, context: int) -> dict[str, Any]:
    """Weights of about 1/inputs, since they are all positive; the last layer starts as nearly nothing."""
    keys = jax.random.split(key, 6)

    def positive(key: jax.Array, inputs: int, outputs: int, gain: float = 1.0) -> jax.Array:
        wanted = gain / inputs * jnp.exp(0.5 * jax.random.normal(key, (inputs, outputs)))
        return jnp.log(jnp.expm1(wanted))

    hidden = {
        name: {"kernel": positive(key, UNITS, UNITS), "bias": jnp.zeros(UNITS)}
        for name, key in zip(("second", "third", "fourth"), keys[:3], strict=True)
    }
    first = {
        "widths": positive(keys[3], widths, UNITS, 2.0),
        "context": jax.random.normal(keys[4], (context, UNITS)) / context**0.5,
        "bias": jnp.zeros(UNITS),
    }
    last = {"kernel": positive(keys[5], UNITS, 1, 0.1), "bias": jnp.zeros(1)}
    return {"slope": jnp.log(jnp.expm1(0.8)), "layers": {"first": first, "hidden": hidden, "last": last}}


def _scaling(x: np.ndarray) -> dict[str, jax.Array]:
    std = x.std(0)
    parts = {"mean": x.mean(0), "std": np.where(std > 1e-6, std, 1.0), "low": x.min(0), "high": x.max(0)}
    return {name: jnp.asarray(value, jnp.float32) for name, value in parts.items()}
