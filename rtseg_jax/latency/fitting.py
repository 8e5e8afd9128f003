"""Fitting the latency model to measurements. No TensorFlow, a few seconds, the same result every time."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
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
)
from rtseg_jax.latency.pricing import feature_table, network_columns

UNITS = 32
STEPS = 1000
LEARNING_RATE = 0.01
DECAY = 1e-2  # of the perceptron's effective weights: with few measurements the rough latency decides
FOLDS = 5
TILES = (1, 4, 8, 16, 32)  # channels that devices compute at once: registers of CPUs, slices of phones
OUTLIER = 0.03  # relative error from which on a measurement counts as disturbed
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


def fit(measured: Measured, card: Mapping[str, Any], seed: int = 0, steps: int = STEPS) -> LatencyModel:
    """Fits rates, perceptron and network terms; held-out errors are of models that never saw what they predict.

    Args:
      measured: at least as many blocks as folds, and two networks.
      card: what the figures mean.
      seed: of the perceptron's initial weights and of the folds.
      steps: of its training.
    """
    card = {**card, "image_size": list(measured.image_size)}
    check_card(card, "latency")
    if len(measured.blocks) < FOLDS or len(measured.networks) < 2:
        raise UserError(
            f"latency: {len(measured.blocks)} blocks and {len(measured.networks)} networks were measured; "
            f"fitting needs {FOLDS} and 2: raise latency.num_blocks and latency.num_networks"
        )
    kinds = tuple(sorted({block.kind for block in measured.blocks}))
    number = len(measured.blocks)
    target = np.log(np.asarray(measured.block_ms))
    fold = np.random.default_rng(seed).permutation(number) % FOLDS
    # Blocks of networks come along: one table has one shape, and is compiled once.
    networks = [network.plain_blocks for network in measured.networks]
    every = [*measured.blocks, *itertools.chain.from_iterable(networks)]
    candidates = {tile: arrays_of(every, measured.image_size, kinds, tile) for tile in TILES}
    rough_errors = {
        tile: _rough_error(widths[:number], context[:number], target, fold)
        for tile, (widths, context) in candidates.items()
    }
    tile = min(TILES, key=rough_errors.__getitem__)
    widths, context = candidates[tile]
    folds = [*(fold != index for index in range(FOLDS)), np.ones(number, bool)]
    models = fit_blocks(widths[:number], context[:number], target, folds, seed=seed, steps=steps)
    predicted = np.stack([_predict(params, widths, context) for params in models])
    *_, params = models
    parts = zip(*(np.split(x, _ends(number, networks))[1:] for x in (predicted[-1], widths, context)), strict=True)
    columns = np.asarray([network_columns(ms, w, c, np.ones(len(ms))) for ms, w, c in parts])
    times = np.asarray(measured.network_ms)
    errors = {**_block_errors(predicted[fold, np.arange(number)], target), **_network_errors(columns, times)}
    between = jnp.asarray(network_terms(columns, times), jnp.float32)
    return LatencyModel({**params, "tile": jnp.float32(tile), "network": between}, kinds, card, errors)


def fit_blocks(
    widths: np.ndarray, context: np.ndarray, target: np.ndarray, subsets: Sequence[np.ndarray], *, seed: int, steps: int
) -> list[dict[str, Any]]:
    """Fits a block model to each subset of the blocks (truth values); `target` is log milliseconds."""
    frozen = [_prepare(widths, context, target, subset) for subset in subsets]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *frozen)
    start = _initial(jax.random.key(seed), widths.shape[1] + 1, context.shape[1])
    weights = jnp.asarray(np.stack(subsets), jnp.float32)
    # Side by side the trainings take as long as one: each is too small to fill a processor.
    data = tuple(jnp.asarray(x, jnp.float32) for x in (widths, context, target))
    trained = _train_each(start, stacked, data, weights, steps)
    return [{**part, **jax.tree.map(lambda x, i=i: x[i], trained)} for i, part in enumerate(frozen)]


def _prepare(widths: np.ndarray, context: np.ndarray, target: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    """What is known before the perceptron: rates, and the scaling of its inputs."""
    rates = rough_rates(widths[seen], context[seen], np.exp(target[seen]))
    log_rough = np.log(rough({"rates": rates}, widths[seen], context[seen]))
    return {
        "rates": jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), rates),
        "widths": _scaling(np.concatenate([np.log1p(widths[seen]), log_rough[:, None]], axis=1)),
        "context": _scaling(context[seen]),
        "center": jnp.float32(np.mean(target[seen])),
    }


def rough_rates(widths: np.ndarray, context: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """Non-negative rates of least relative error, none of them quite zero."""
    columns = np.concatenate([widths[:, :ROUGH_FEATURES], context[:, :1], np.ones((len(times), 1))], axis=1)
    relative = columns.astype(np.float64) / times[:, None]
    scale = np.maximum(relative.max(0), 1e-12)
    solution = _robust(relative / scale, lambda matrix, wanted: scipy.optimize.nnls(matrix, wanted)[0])
    rates = np.maximum(solution, RATE_FLOOR / len(scale)) / scale
    # What never occurred costs what moving as many numbers costs.
    rates = np.where(relative.max(0) > 0, rates, rates[WIDTH_FEATURES.index("traffic")])
    return {"features": rates[:ROUGH_FEATURES], "operator": rates[-2], "block": rates[-1]}


def network_terms(columns: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Coefficients of `network_columns` of least relative error; Σ S_b keeps at least half its weight."""
    relative = columns.astype(np.float64) / times[:, None]
    scale = np.maximum(relative.max(0), 1e-12)
    lower = np.zeros(len(scale))
    lower[0] = 0.5 * scale[0]
    solve = functools.partial(scipy.optimize.lsq_linear, bounds=(lower, np.inf))
    return _robust(relative / scale, lambda matrix, wanted: solve(matrix, wanted).x) / scale


def _robust(relative: np.ndarray, solve: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Coefficients whose products with every row are near 1; rows that are far off pull less, they were disturbed."""
    ridge = 1e-2 * np.eye(relative.shape[1])  # decides between features that always occur together
    pull = np.ones(len(relative))
    solution = np.zeros(relative.shape[1])
    for _ in range(8):
        matrix = np.concatenate([relative * pull[:, None], ridge])
        solution = solve(matrix, np.concatenate([pull, np.zeros(len(ridge))]))
        pull = np.minimum(1.0, np.sqrt(OUTLIER / np.maximum(np.abs(relative @ solution - 1), 1e-9)))
    return solution


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
        fit_loss = (weight * optax.huber_loss(error / OUTLIER)).sum() / weight.sum()
        return fit_loss + DECAY * _size(params["layers"])

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


def arrays_of(
    blocks: Sequence[Block], image_size: tuple[int, int], kinds: tuple[str, ...], tile: int
) -> tuple[np.ndarray, np.ndarray]:
    """Width and context features of blocks as they are declared."""
    table = feature_table([block_terms(block, image_size) for block in blocks])
    context = np.asarray([context_of(block, image_size, kinds) for block in blocks], np.float32)
    return np.asarray(table(jnp.asarray(table.sizes), jnp.float32(tile))), context


def _ends(number: int, networks: Sequence[Sequence[Block]]) -> np.ndarray:
    """Where the measured blocks end, and every network but the last."""
    return np.cumsum([number, *map(len, networks[:-1])])


def _predict(params: Params, widths: np.ndarray, context: np.ndarray) -> np.ndarray:
    return np.asarray(_jitted(params, widths, context))


_jitted = jax.jit(predict_blocks)


def _rough_error(widths: np.ndarray, context: np.ndarray, target: np.ndarray, fold: np.ndarray) -> float:
    """Mean relative error of the rough latency alone on blocks that its rates did not see."""
    errors = np.zeros(len(target))
    for index in range(FOLDS):
        seen = fold != index
        rates = rough_rates(widths[seen], context[seen], np.exp(target[seen]))
        errors[~seen] = np.abs(rough({"rates": rates}, widths, context) / np.exp(target) - 1)[~seen]
    return float(errors.mean())


def _block_errors(predicted: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Relative errors of blocks that the model did not see."""
    errors = np.abs(predicted / np.exp(target) - 1)
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
