"""Features of blocks and networks as arrays: what fits and adaptations work on."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from rtseg_jax.architecture import Block, Network
from rtseg_jax.latency.features import Term, Tile, block_terms, width_features
from rtseg_jax.latency.predictor import Params, context_of, predict_blocks
from rtseg_jax.latency.pricing import network_columns
from rtseg_jax.latency.subjects import Size


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
    def of(blocks: Sequence[Block], sizes: Sequence[Size], kinds: tuple[str, ...], precision: str) -> "Features":
        """Of blocks, each at its image size; `kinds` are the types of blocks that the model tells apart.

        `precision` is that of the files, one of `export.spec.PRECISIONS`.
        """
        pairs = list(zip(blocks, sizes, strict=True))
        context = np.asarray([context_of(*pair, kinds) for pair in pairs], np.float32)
        return Features([block_terms(*pair, precision) for pair in pairs], context)

    def arrays(self, tiles: Mapping[str, Tile]) -> Arrays:
        """The features on a device with these tiles."""
        widths = [width_features(terms, tiles=tiles) for terms in self.terms]
        return Arrays(np.asarray(widths, np.float32), self.context)


def network_features(network: Network, size: Size, kinds: tuple[str, ...], precision: str) -> Features:
    """Of the blocks of a network, see `Features.of`."""
    blocks = network.plain_blocks
    return Features.of(blocks, [size] * len(blocks), kinds, precision)


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
