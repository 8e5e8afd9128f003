"""Fitting the latency model to measurements. No TensorFlow, a few seconds, the same result every time."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from jaxtyping import Array, Float

from rtseg_jax.architecture import Block, Network
from rtseg_jax.errors import UserError
from rtseg_jax.latency.features import WIDTH_FEATURES, block_terms
from rtseg_jax.latency.predictor import (
    ROUGH_FEATURES,
    LatencyModel,
    Params,
    check_card,
    context_of,
    predict_blocks,
    rough,
    width_inputs,
)
from rtseg_jax.latency.pricing import feature_table, network_columns

UNITS = 32
STEPS = 1500
LEARNING_RATE = 0.01
DECAY = 3e-3  # of the perceptron's effective weights: with few measurements the rough latency decides
FOLDS = 5
TILES = (1, 4, 8, 16, 32)  # channels that devices compute at once: registers of CPUs, slices of phones
RATE_FLOOR = 0.01  # of the rate that the whole latency would give a feature


@dataclasses.dataclass(frozen=True)
class Measured:
    """Blocks and whole networks with their milliseconds, all at one image size on one device.

    Attributes:
      blocks: declarations at the measured widths.
      block_ms: one per block.
      networks: likewise.
      network_ms: one per network.
      image_size: height and width.
    """

    blocks: Sequence[Block]
    block_ms: Sequence[float]
    networks: Sequence[Network]
    network_ms: Sequence[float]
    image_size: tuple[int, int]


def fit(measured: Measured, card: Mapping[str, Any], seed: int = 0) -> LatencyModel:
    """Fits rates, perceptron and network terms; held-out errors are of models that never saw what they predict.

    Args:
      measured: at least as many blocks as folds, and two networks.
      card: what the figures mean.
      seed: of the perceptron's initial weights and of the folds.
    """
    card = {**card, "image_size": list(measured.image_size)}
    check_card(card, "latency")
    if len(measured.blocks) < FOLDS or len(measured.networks) < 2:
        raise UserError(
            f"latency: {len(measured.blocks)} blocks and {len(measured.networks)} networks were measured; "
            f"fitting needs {FOLDS} and 2: raise latency.num_blocks and latency.num_networks"
        )
    kinds = tuple(sorted({block.kind for block in measured.blocks}))
    target = np.log(np.asarray(measured.block_ms))
    fold = np.random.default_rng(seed).permutation(len(target)) % FOLDS
    candidates = {tile: arrays_of(measured.blocks, measured.image_size, kinds, tile) for tile in TILES}
    tile = min(TILES, key=lambda tile: _rough_error(*candidates[tile], target, fold))
    data = candidates[tile]
    params = {**fit_blocks(*data, target, np.ones(len(target)), seed), "tile": jnp.float32(tile)}
    nets = [arrays_of(network.plain_blocks, measured.image_size, kinds, tile) for network in measured.networks]
    columns = np.stack([_columns(params, *net) for net in nets])
    times = np.asarray(measured.network_ms)
    errors = {**_block_errors(data, target, fold, seed), **_network_errors(columns, times)}
    params = {**params, "network": jnp.asarray(network_terms(columns, times), jnp.float32)}
    return LatencyModel(params, kinds, card, errors)


def fit_blocks(
    widths: np.ndarray, context: np.ndarray, target: np.ndarray, weight: np.ndarray, seed: int
) -> dict[str, Any]:
    """Fits the block model; `target` is log milliseconds, blocks of weight 0 are not looked at."""
    seen = weight > 0
    rates = rough_rates(widths[seen], context[seen], np.exp(target[seen]))
    frozen: dict[str, Any] = {"rates": jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), rates)}
    log_rough = jnp.log(rough(frozen, jnp.asarray(widths), jnp.asarray(context)))
    inputs = np.asarray(width_inputs(jnp.asarray(widths), log_rough))
    frozen["widths"], frozen["context"] = _scaling(inputs[seen]), _scaling(context[seen])
    frozen["center"] = jnp.float32(np.mean(target[seen]))
    start = _initial(jax.random.key(seed), inputs.shape[1], context.shape[1])
    arrays = tuple(jnp.asarray(x, jnp.float32) for x in (widths, context, target, weight))
    return {**frozen, **_train(start, frozen, *arrays)}


def rough_rates(widths: np.ndarray, context: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """Non-negative rates of least relative error, none of them quite zero."""
    columns = np.concatenate([widths[:, :ROUGH_FEATURES], context[:, :1], np.ones((len(times), 1))], axis=1)
    relative = columns.astype(np.float64) / times[:, None]
    scale = np.maximum(relative.max(0), 1e-12)
    # The ridge decides between features that always occur together.
    ridge = 1e-2 * np.eye(columns.shape[1])
    matrix = np.concatenate([relative / scale, ridge])
    solution, _ = scipy.optimize.nnls(matrix, np.concatenate([np.ones(len(times)), np.zeros(len(ridge))]))
    rates = np.maximum(solution, RATE_FLOOR / len(scale)) / scale
    # What never occurred costs what moving as many numbers costs.
    rates = np.where(relative.max(0) > 0, rates, rates[WIDTH_FEATURES.index("traffic")])
    return {"features": rates[:ROUGH_FEATURES], "operator": rates[-2], "block": rates[-1]}


def network_terms(columns: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Coefficients of `network_columns` of least relative error; Σ S_b keeps at least half its weight."""
    relative = columns.astype(np.float64) / times[:, None]
    scale = np.maximum(relative.max(0), 1e-12)
    ridge = 1e-2 * np.eye(len(scale))
    ridge[0] = 0.0
    lower = np.zeros(len(scale))
    lower[0] = 0.5 * scale[0]
    matrix = np.concatenate([relative / scale, ridge])
    wanted = np.concatenate([np.ones(len(times)), np.zeros(len(ridge))])
    return scipy.optimize.lsq_linear(matrix, wanted, (lower, np.inf)).x / scale


@jax.jit
def _train(
    start: Params,
    frozen: Params,
    widths: Float[Array, "g f"],
    context: Float[Array, "g c"],
    target: Float[Array, " g"],
    weight: Float[Array, " g"],
) -> Params:
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, STEPS))

    def loss(params: Params) -> jax.Array:
        error = jnp.log(predict_blocks({**frozen, **params}, widths, context)) - target
        # In units of 3 %: beyond that a block is an outlier of the measurement and pulls less.
        fit_loss = (weight * optax.huber_loss(error / 0.03)).sum() / weight.sum()
        return fit_loss + DECAY * _size(params["layers"]) / 0.03

    def step(carry: tuple[Params, Any], _: None) -> tuple[tuple[Params, Any], None]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), None, length=STEPS)
    return params


def _size(layers: Params) -> jax.Array:
    """Σ of squares of effective weights."""
    first, hidden, last = layers["first"], layers["hidden"], layers["last"]
    positive = [first["widths"], last["kernel"], *(layer["kernel"] for layer in hidden.values())]
    squares = [jnp.square(jax.nn.softplus(kernel)).sum() for kernel in positive]
    return sum(squares, jnp.square(first["context"]).sum())


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


def arrays_of(
    blocks: Sequence[Block], image_size: tuple[int, int], kinds: tuple[str, ...], tile: int
) -> tuple[np.ndarray, np.ndarray]:
    """Width and context features of blocks as they are declared."""
    table = feature_table([block_terms(block, image_size) for block in blocks])
    context = np.asarray([context_of(block, image_size, kinds) for block in blocks], np.float32)
    return np.asarray(table(jnp.asarray(table.sizes), jnp.float32(tile))), context


def _columns(params: Params, widths: np.ndarray, context: np.ndarray) -> np.ndarray:
    return np.asarray(network_columns(params, jnp.asarray(widths), jnp.asarray(context), jnp.ones(len(widths))))


def _rough_error(widths: np.ndarray, context: np.ndarray, target: np.ndarray, fold: np.ndarray) -> float:
    """Mean relative error of the rough latency alone on blocks that its rates did not see."""
    errors = np.zeros(len(target))
    for index in range(FOLDS):
        seen = fold != index
        rates = rough_rates(widths[seen], context[seen], np.exp(target[seen]))
        errors[~seen] = np.abs(rough({"rates": rates}, widths, context) / np.exp(target) - 1)[~seen]
    return float(errors.mean())


def _block_errors(
    data: tuple[np.ndarray, np.ndarray], target: np.ndarray, fold: np.ndarray, seed: int
) -> dict[str, float]:
    """Relative errors of blocks that the model did not see."""
    errors = np.zeros(len(target))
    for index in range(FOLDS):
        params = fit_blocks(*data, target, (fold != index).astype(float), seed)
        predicted = np.asarray(predict_blocks(params, *(jnp.asarray(x) for x in data)))
        errors[fold == index] = np.abs(np.expm1(np.log(predicted) - target))[fold == index]
    return {
        "block_mean": float(errors.mean()),
        "block_median": float(np.median(errors)),
        "block_max": float(errors.max()),
    }


def _network_errors(columns: np.ndarray, times: np.ndarray) -> dict[str, float]:
    """Relative errors of networks left out one at a time."""
    keep = ~np.eye(len(times), dtype=bool)
    predicted = [column @ network_terms(columns[k], times[k]) for column, k in zip(columns, keep, strict=True)]
    errors = np.abs(np.asarray(predicted) / times - 1)
    return {"network_mean": float(errors.mean()), "network_max": float(errors.max())}
