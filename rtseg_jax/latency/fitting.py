"""Fitting the latency model to measurements, and what it says of those that it has not seen. No TensorFlow."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from rtseg_jax.architecture import Block, Network
from rtseg_jax.errors import UserError
from rtseg_jax.latency.accuracy import conformal_spread
from rtseg_jax.latency.arrays import Features, columns_of, network_features, predict
from rtseg_jax.latency.block_model import STEPS, fit_blocks
from rtseg_jax.latency.features import TILINGS, UNTILED, Tile
from rtseg_jax.latency.predictor import LatencyModel, check_card, precision_of, rough
from rtseg_jax.latency.regression import left_out, network_terms, rough_rates
from rtseg_jax.latency.subjects import Size

FOLDS = 5
TILES: tuple[Tile, ...] = ((1, 1), (4, 4), (8, 8), (16, 16), (32, 32), (8, 16), (16, 32))  # registers, slices of phones
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


Split = tuple[str, Bool[np.ndarray, " g"]]
"""Name, and which blocks a model does not see."""


def fit(measured: Measured, card: Mapping[str, Any], seed: int = 0, steps: int = STEPS) -> Fit:
    """Fits tiles, rates, perceptron and network terms.

    Held-out predictions are of models whose rates and perceptron never saw them; tiles are chosen once, on all blocks.

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
    precision = precision_of(card)
    features = Features.of(measured.blocks, measured.block_sizes, kinds, precision)
    block_ms, network_ms = np.asarray(measured.block_ms), np.asarray(measured.network_ms)
    tiles = find_tiles(features, block_ms)
    blocks = features.arrays(tiles)
    splits = _splits(measured, tuple(card["image_size"]), seed)
    subsets = [*(~unseen for _, unseen in splits), np.ones(len(block_ms), bool)]
    *split_models, model = fit_blocks(blocks, np.log(block_ms), subsets, seed=seed, steps=steps)
    networks = zip(measured.networks, measured.network_sizes, strict=True)
    columns = columns_of(model, [network_features(*pair, kinds, precision).arrays(tiles) for pair in networks])
    alone = left_out(columns, network_ms, network_terms)
    params = {
        **model,
        "tiles": jnp.asarray([tiles[tiling] for tiling in TILINGS], jnp.float32),
        "network": jnp.asarray(network_terms(columns, network_ms), jnp.float32),
        "spread": jnp.float32(conformal_spread(alone, network_ms)),
    }
    # Every model says something of all blocks: of as many each time, for which one program is compiled.
    predictions = [predict(m, blocks)[unseen] for m, (_, unseen) in zip(split_models, splits, strict=True)]
    return Fit(LatencyModel(params, kinds, card, {}), _by_name(splits, predictions), alone)


def _splits(measured: Measured, image_size: Size, seed: int) -> list[Split]:
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


def _by_name(splits: Sequence[Split], predictions: Sequence[np.ndarray]) -> dict[str, HeldOut]:
    """The predictions of all splits of a name together."""
    result: dict[str, HeldOut] = {}
    for (name, unseen), ms in zip(splits, predictions, strict=True):
        before = result.get(name, HeldOut(np.zeros(0, int), np.zeros(0)))
        indices = np.concatenate([before.indices, np.flatnonzero(unseen)])
        result[name] = HeldOut(indices, np.concatenate([before.ms, ms]))
    return result


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
