"""A predictor for a new device from one that exists, and a few dozen measurements.

    T' = Σ_b w_b·g_k(b)·S_b + Σ_t r_t·Σ_b w_b·F_bt + c

Every type of block `k` gets a gain of its own, and what lies between blocks new rates. Blocks are fitted as networks of
one block without borders (`c`), together with whole networks. Gains are drawn to the common one, so that a type that
was hardly measured follows the others. Tiles, rates and perceptron stay: widths matter as they did on the old device,
up to the gain. That is right for other clocks or numbers of threads, not for another way of computing.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rtseg_jax.architecture import Block
from rtseg_jax.errors import UserError
from rtseg_jax.latency.accuracy import conformal_spread
from rtseg_jax.latency.arrays import Features, predict
from rtseg_jax.latency.features import CONTEXT_FEATURES
from rtseg_jax.latency.fitting import Fit, HeldOut, Measured
from rtseg_jax.latency.predictor import LatencyModel, check_card
from rtseg_jax.latency.pricing import network_columns
from rtseg_jax.latency.regression import at_least, left_out, robust
from rtseg_jax.latency.subjects import Size

GAIN_PULL = 0.1  # of the common gain on that of a type, where one measurement with an error of 1 pulls with 1
RATE_PULL = 0.01  # of zero on what lies between blocks


def adapt(base: LatencyModel, measured: Measured, card: Mapping[str, Any]) -> Fit:
    """Fits gains and network terms to measurements on another device.

    Args:
      base: predictor of the old device for the same search space.
      measured: on the new one; at least two networks.
      card: what these figures mean.

    Returns:
      The new predictor; held-out predictions are of fits that left one measurement out.

    Raises:
      UserError: too little was measured, or blocks of types that `base` does not know.
    """
    check_card(card, "latency")
    if len(measured.networks) < 2:
        raise UserError(f"latency: {len(measured.networks)} networks were measured; adapting needs 2")
    inside = (block for network in measured.networks for block in network.plain_blocks)
    unknown = sorted({block.kind for block in (*measured.blocks, *inside)} - set(base.kinds))
    if unknown:
        raise UserError(f"latency: the predictor to adapt knows no blocks of type {', '.join(unknown)}")
    inner = [_columns(base, [block], size) for block, size in zip(measured.blocks, measured.block_sizes, strict=True)]
    alone = [np.r_[columns[:-1], 0.0] for columns in inner]  # a block has no borders of a network
    whole = [
        _columns(base, network.plain_blocks, size)
        for network, size in zip(measured.networks, measured.network_sizes, strict=True)
    ]
    columns, times = np.asarray([*alone, *whole]), np.asarray([*measured.block_ms, *measured.network_ms])
    number, kinds = len(alone), len(base.kinds)
    solve = functools.partial(_solve, kinds=kinds)
    solution, unseen = solve(columns, times), left_out(columns, times, solve)
    arrays = {
        **base.arrays,
        "gains": jnp.asarray(np.asarray(base.arrays["gains"]) * solution[:kinds], jnp.float32),
        "network": jnp.asarray([1.0, *solution[kinds:]], jnp.float32),
        "spread": jnp.float32(conformal_spread(unseen[number:], times[number:])),
    }
    blocks = {"blocks left out one at a time": HeldOut(np.arange(number), unseen[:number])} if number else {}
    adapted_from = " · ".join(str(base.card[field]) for field in ("device", "backend", "threads", "date"))
    return Fit(LatencyModel(arrays, base.kinds, {**card, "adapted_from": adapted_from}, {}), blocks, unseen[number:])


def _columns(base: LatencyModel, blocks: Sequence[Block], size: Size) -> Float[np.ndarray, " k"]:
    """Σ S_b of every type of block, then what lies between blocks."""
    arrays = Features.of(blocks, [size] * len(blocks), base.kinds, base.precision).arrays(base.tiles)
    block_ms = predict(base.arrays, arrays)
    own = block_ms @ arrays.context[:, len(CONTEXT_FEATURES) :]
    _, *between = network_columns(block_ms, arrays.widths, arrays.context, np.ones(len(blocks)))
    return np.asarray([*own, *between], np.float64)


def _solve(columns: Float[np.ndarray, "n k"], times: Float[np.ndarray, " n"], kinds: int) -> Float[np.ndarray, " k"]:
    """Gains of all types, at least a fifth of the common one, then rates of what lies between blocks, at least 0."""
    common = float(np.median(times / columns[:, :kinds].sum(1)))
    relative = columns / times[:, None]
    scale = np.concatenate([np.full(kinds, 1 / common), np.maximum(relative[:, kinds:].max(0), 1e-12)])
    lower = np.r_[np.full(kinds, 0.2), np.zeros(len(scale) - kinds)]
    target = np.r_[np.ones(kinds), np.zeros(len(scale) - kinds)]
    pull = np.r_[np.full(kinds, GAIN_PULL), np.full(len(scale) - kinds, RATE_PULL)]
    return robust(relative / scale, at_least(lower), target, pull) / scale
