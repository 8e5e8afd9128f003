"""Fitting the latency model to measurements. No TensorFlow, well under a minute, the same result every time."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from jaxtyping import Array, Bool, Float

from rtseg_jax.architecture import Block, Network
from rtseg_jax.errors import UserError
from rtseg_jax.latency.accuracy import conformal_spread
from rtseg_jax.latency.features import (
    CONTEXT_FEATURES,
    TILINGS,
    UNTILED,
    WIDTH_FEATURES,
    Term,
    Tile,
    block_terms,
    width_features,
)
from rtseg_jax.latency.predictor import (
    ROUGH_FEATURES,
    LatencyModel,
    Params,
    check_card,
    context_of,
    predict_blocks,
    rough,
)
from rtseg_jax.latency.pricing import network_columns
from rtseg_jax.latency.subjects import Size

UNITS = 32
STEPS = 1000
LEARNING_RATE = 0.01
DECAY = 1.0  # of the perceptron's effective weights, divided by the measurements: of few, the rough latency decides
FOLDS = 5
TILES: tuple[Tile, ...] = ((1, 1), (4, 4), (8, 8), (16, 16), (32, 32), (8, 16), (16, 32))  # registers, slices of phones
OUTLIER = 0.03  # relative error from which on a measurement counts as disturbed
RATE_FLOOR = 0.01  # of the rate that the whole latency would give a feature
WIDTH_CLASSES = 4  # one in so many widths is left out to see what unseen ones cost


@dataclasses.dataclass(frozen=True)
class Measured:
    """Blocks and whole networks with their milliseconds, all of one device.

    Attributes:
      blocks: declarations at the measured widths.
      block_sizes: image size of each.
      block_ms: latency of each.
      networks, network_sizes, network_ms: likewise.
    """

    blocks: Sequence[Block]
    block_sizes: Sequence[Size]
    block_ms: Sequence[float]
    networks: Sequence[Network]
    network_sizes: Sequence[Size]
    network_ms: Sequence[float]


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """What models say of measurements that they have not seen.

    Attributes:
      indices: of the measurements.
      ms: predicted.
    """

    indices: np.ndarray
    ms: np.ndarray


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted model and its cross-validation.

    Attributes:
      model: fitted to everything.
      blocks: predictions for held-out blocks, by what was held out: random ones, widths, a resolution.
      networks: predictions for networks that were left out one at a time.
    """

    model: LatencyModel
    blocks: Mapping[str, HeldOut]
    networks: Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Width and context features of blocks, see `predict_blocks`."""

    widths: Float[np.ndarray, "g f"]
    context: Float[np.ndarray, "g c"]

    def __getitem__(self, rows: Any) -> "Arrays":
        return Arrays(self.widths[rows], self.context[rows])


@dataclasses.dataclass(frozen=True)
class Features:
    """What blocks as they are declared depend on, before the tiles of the device are known."""

    terms: Sequence[tuple[Term, ...]]
    context: Float[np.ndarray, "g c"]

    @staticmethod
    def of(blocks: Sequence[Block], sizes: Sequence[Size], kinds: tuple[str, ...]) -> "Features":
        """Of blocks, each at its image size; `kinds` are the types of blocks that the model tells apart."""
        pairs = list(zip(blocks, sizes, strict=True))
        context = np.asarray([context_of(*pair, kinds) for pair in pairs], np.float32)
        return Features([block_terms(*pair) for pair in pairs], context)

    def arrays(self, tiles: Mapping[str, Tile]) -> Arrays:
        """The features on a device with these tiles."""
        widths = [width_features(terms, tiles=tiles) for terms in self.terms]
        return Arrays(np.asarray(widths, np.float32), self.context)


def network_features(network: Network, size: Size, kinds: tuple[str, ...]) -> Features:
    """Of the blocks of a network."""
    blocks = network.plain_blocks
    return Features.of(blocks, [size] * len(blocks), kinds)


def fit(measured: Measured, card: Mapping[str, Any], seed: int = 0, steps: int = STEPS) -> Fit:
    """Fits tiles, rates, perceptron and network terms; held-out predictions are of models that never saw them.

    Args:
      measured: at least as many blocks as folds, and two networks.
      card: what the figures mean.
      seed: of the perceptron's initial weights and of the folds.
      steps: of its training.
    """
    check_card(card, "latency")
    if len(measured.blocks) < FOLDS or len(measured.networks) < 2:
        raise UserError(
            f"latency: {len(measured.blocks)} blocks and {len(measured.networks)} networks were measured; "
            f"fitting needs {FOLDS} and 2: raise latency.num_blocks and latency.num_networks"
        )
    kinds = tuple(sorted({block.kind for block in measured.blocks}))
    times = np.asarray(measured.block_ms)
    features = Features.of(measured.blocks, measured.block_sizes, kinds)
    tiles = find_tiles(features, times)
    blocks = features.arrays(tiles)
    splits = _splits(measured, tuple(card["image_size"]), seed)
    *held_out, model = fit_blocks(
        blocks, np.log(times), [*(~unseen for _, unseen in splits), np.ones(len(times), bool)], seed=seed, steps=steps
    )
    arrays = [
        network_features(network, size, kinds).arrays(tiles)
        for network, size in zip(measured.networks, measured.network_sizes, strict=True)
    ]
    columns, network_ms = columns_of(model, arrays), np.asarray(measured.network_ms)
    left_out = _left_out(columns, network_ms)
    params = {
        **model,
        "tiles": jnp.asarray([tiles[tiling] for tiling in TILINGS], jnp.float32),
        "network": jnp.asarray(network_terms(columns, network_ms), jnp.float32),
        "spread": jnp.float32(conformal_spread(left_out, network_ms)),
    }
    predictions: dict[str, list[HeldOut]] = {}
    for (name, unseen), split_model in zip(splits, held_out, strict=True):
        found = HeldOut(np.flatnonzero(unseen), predict(split_model, blocks[unseen]))
        predictions.setdefault(name, []).append(found)
    return Fit(
        LatencyModel(params, kinds, card, {}),
        {name: _join(parts) for name, parts in predictions.items()},
        left_out,
    )


def _splits(measured: Measured, image_size: Size, seed: int) -> list[tuple[str, Bool[np.ndarray, " g"]]]:
    """What is held out together: a fifth of the blocks in turn; some widths; one of the other resolutions."""
    number = len(measured.blocks)
    fold = np.random.default_rng(seed).permutation(number) % FOLDS
    splits = [("held-out blocks", fold == index) for index in range(FOLDS)]
    classes = np.asarray([_width_class(block) for block in measured.blocks])
    sizes = sorted({size for size in measured.block_sizes if size != image_size}, key=math.prod)
    middle = sizes[len(sizes) // 2] if sizes else None
    splits.append(("unseen widths", classes == WIDTH_CLASSES - 1))
    splits.append(("unseen resolution", np.asarray([size == middle for size in measured.block_sizes])))
    return [(name, unseen) for name, unseen in splits if 0 < unseen.sum() <= number // 2]


def _width_class(block: Block) -> int:
    """Of the last searched group that the block writes; 0 where it writes none."""
    groups = (group for op in reversed(block.ops) for group in op.output.groups if group.searched)
    return next((-(-group.size // group.multiple) % WIDTH_CLASSES for group in groups), 0)


def _join(parts: Sequence[HeldOut]) -> HeldOut:
    return HeldOut(np.concatenate([part.indices for part in parts]), np.concatenate([part.ms for part in parts]))


def find_tiles(blocks: Features, times: Float[np.ndarray, " g"]) -> dict[str, Tile]:
    """The tiles with which rates alone explain the blocks best, one kind of operators after the other, twice."""

    def error(tiles: Mapping[str, Tile]) -> float:
        arrays = blocks.arrays(tiles)
        rates = rough_rates(arrays, times)
        return float(np.abs(rough({"rates": rates}, arrays.widths, arrays.context) / times - 1).mean())

    best = dict(UNTILED)
    for tiling in (*TILINGS, *TILINGS):
        best = min(({**best, tiling: tile} for tile in TILES), key=error)
    return best


def fit_blocks(
    blocks: Arrays, target: Float[np.ndarray, " g"], subsets: Sequence[np.ndarray], *, seed: int, steps: int
) -> list[dict[str, Any]]:
    """Fits a block model to each subset of the blocks (truth values); `target` is log milliseconds."""
    frozen = [_prepare(blocks[subset], target[subset]) for subset in subsets]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *frozen)
    start = _initial(jax.random.key(seed), blocks.widths.shape[1] + 1, blocks.context.shape[1])
    weights = jnp.asarray(np.stack(subsets), jnp.float32)
    # Side by side the trainings take as long as one: each is too small to fill a processor.
    data = tuple(jnp.asarray(x, jnp.float32) for x in (blocks.widths, blocks.context, target))
    trained = _train_each(start, stacked, data, weights, steps)
    return [{**part, **jax.tree.map(lambda x, i=i: x[i], trained)} for i, part in enumerate(frozen)]


def _prepare(seen: Arrays, target: np.ndarray) -> dict[str, Any]:
    """What is known before the perceptron: rates, and the scaling of its inputs."""
    rates = rough_rates(seen, np.exp(target))
    log_rough = np.log(rough({"rates": rates}, seen.widths, seen.context))
    return {
        "rates": jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), rates),
        "widths": _scaling(np.concatenate([np.log1p(seen.widths), log_rough[:, None]], axis=1)),
        "context": _scaling(seen.context),
        "center": jnp.float32(np.mean(target)),
        "gains": jnp.ones(seen.context.shape[1] - len(CONTEXT_FEATURES)),
    }


def rough_rates(blocks: Arrays, times: Float[np.ndarray, " g"]) -> dict[str, np.ndarray]:
    """Non-negative rates of least relative error, none of them quite zero."""
    fixed = [blocks.context[:, :1], np.ones((len(times), 1))]
    relative = np.concatenate([blocks.widths[:, :ROUGH_FEATURES], *fixed], axis=1).astype(np.float64) / times[:, None]
    scale = np.maximum(relative.max(0), 1e-12)
    solution = robust(relative / scale, lambda matrix, wanted: scipy.optimize.nnls(matrix, wanted)[0])
    rates = np.maximum(solution, RATE_FLOOR / len(scale)) / scale
    # What never occurred costs what moving as many numbers costs.
    rates = np.where(relative.max(0) > 0, rates, rates[WIDTH_FEATURES.index("traffic")])
    return {"features": rates[:ROUGH_FEATURES], "operator": rates[-2], "block": rates[-1]}


def network_terms(columns: Float[np.ndarray, "n t"], times: Float[np.ndarray, " n"]) -> np.ndarray:
    """Coefficients of `network_columns` of least relative error; Σ S_b keeps at least half its weight."""
    relative = columns.astype(np.float64) / times[:, None]
    scale = np.maximum(relative.max(0), 1e-12)
    lower = np.zeros(len(scale))
    lower[0] = 0.5 * scale[0]
    solve = functools.partial(scipy.optimize.lsq_linear, bounds=(lower, np.inf))
    return robust(relative / scale, lambda matrix, wanted: solve(matrix, wanted).x) / scale


def robust(
    relative: Float[np.ndarray, "n k"],
    solve: Callable[[np.ndarray, np.ndarray], np.ndarray],
    prior: Float[np.ndarray, " k"] | float = 0.0,
    ridge: Float[np.ndarray, " k"] | float = 1e-2,
) -> Float[np.ndarray, " k"]:
    """Coefficients whose products with every row are near 1; rows that are far off pull less, they were disturbed.

    Args:
      relative: features over latencies.
      solve: least squares with bounds, of a matrix and what its products should be.
      prior: where coefficients stay that no row decides on, such as those of features that always occur together.
      ridge: how much that weighs.
    """
    ridges = np.full(relative.shape[1], ridge) if np.isscalar(ridge) else np.asarray(ridge)
    pull = np.ones(len(relative))
    solution = np.zeros(relative.shape[1])
    for _ in range(8):
        matrix = np.concatenate([relative * pull[:, None], np.diag(ridges)])
        solution = solve(matrix, np.concatenate([pull, ridges * prior]))
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


def columns_of(params: Params, networks: Sequence[Arrays]) -> Float[np.ndarray, "n t"]:
    """`network_columns` of every network."""
    every = Arrays(np.concatenate([n.widths for n in networks]), np.concatenate([n.context for n in networks]))
    ends = np.cumsum([len(network.widths) for network in networks])[:-1]
    parts = zip(np.split(predict(params, every), ends), networks, strict=True)
    return np.asarray([network_columns(ms, n.widths, n.context, np.ones(len(ms))) for ms, n in parts])


def predict(params: Params, blocks: Arrays) -> Float[np.ndarray, " g"]:
    """Milliseconds of blocks, see `predict_blocks`."""
    return np.asarray(_jitted(params, blocks.widths, blocks.context))


_jitted = jax.jit(predict_blocks)


def _left_out(columns: Float[np.ndarray, "n t"], times: Float[np.ndarray, " n"]) -> np.ndarray:
    """Latency of every network by terms that were fitted to the others."""
    keep = ~np.eye(len(times), dtype=bool)
    return np.asarray([c @ network_terms(columns[k], times[k]) for c, k in zip(columns, keep, strict=True)])
