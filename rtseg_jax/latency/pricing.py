"""Predicted latency of whole networks, differentiable in kept counts and path weights.

    T = α·Σ_b w_b·S_b + Σ_t r_t·Σ_b w_b·F_bt + c

`w_b` is 1, or the weight of the path that block `b` is. The second sum prices what separately measured blocks do not
show: features that are no longer in the cache, by memory traffic, and the runtime's work per operator. `c` is what
every network of this size has at its borders: pictures that are normalized, numbers that become integers and logits
that become floats again. All coefficients are non-negative.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rtseg_jax.architecture import MIXED, ArchSpec, Block, Group, Network, declare_spec
from rtseg_jax.latency.features import (
    CONTEXT_FEATURES,
    TILINGS,
    WIDTH_FEATURES,
    Factor,
    Kernel,
    Term,
    block_terms,
    is_large,
    round_up,
)
from rtseg_jax.latency.predictor import Data, LatencyModel, Params, context_of, predict_blocks

NetworkLatency = Callable[[Mapping[str, jax.Array], Mapping[str, jax.Array]], jax.Array]
"""(kept indicators by group, weights of its choices by mixed block) → milliseconds."""


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """Width features of many blocks as array operations on one vector of kept counts.

    Attributes:
      groups: names of the groups, in the order of the vector.
      sizes: full size of each.
      counts: the factors as combinations of groups.
      tilings: which tiles each factor is rounded up to, as an index into `TILINGS`; one past the last for none.
      left, right: factors of each term; one past the last factor stands for the number 1.
      coefficients: of each term.
      kernels: taps and two factors of the kernel that decides whether a term counts, a column for each term.
      slots: where each term is added, `block · features + feature`.
      blocks: how many there are.
    """

    groups: tuple[str, ...]
    sizes: np.ndarray
    counts: np.ndarray
    tilings: np.ndarray
    left: np.ndarray
    right: np.ndarray
    coefficients: np.ndarray
    kernels: np.ndarray
    slots: np.ndarray
    blocks: int

    def __call__(self, kept: Float[Array, " n"], tiles: Float[Array, "t 2"]) -> Float[Array, "g f"]:
        """Features of every block; `kept` in the order of `groups`, a row of `tiles` for each of `TILINGS`."""
        exact = jnp.matmul(jnp.asarray(self.counts), kept, precision="highest")  # counts must survive accelerators
        small, large = jnp.concatenate([tiles, jnp.ones((1, 2))])[self.tilings].T
        tiled = jnp.where(self.tilings < len(TILINGS), round_up(exact, small, large), exact)
        counts, plain = (jnp.concatenate([each, jnp.ones(1)]) for each in (tiled, exact))
        taps, *summed = self.kernels
        counted = is_large(taps * plain[summed[0]] * plain[summed[1]])
        terms = jnp.asarray(self.coefficients) * counts[self.left] * counts[self.right] * counted
        sums = jax.ops.segment_sum(terms, self.slots, self.blocks * len(WIDTH_FEATURES))
        return sums.reshape(self.blocks, len(WIDTH_FEATURES))


def feature_table(terms_by_block: list[tuple[Term, ...]]) -> FeatureTable:
    """Arranges the terms of blocks; equal to `width_features` of each."""
    terms = [(index, term) for index, block in enumerate(terms_by_block) for term in block]
    factors: dict[Factor, int] = {}
    for _, term in terms:
        for factor in (*term.factors, *term.kernel.factors):
            factors.setdefault(factor, len(factors))
    groups: dict[Group, int] = {}
    for factor in factors:
        for group, _ in factor.parts:
            groups.setdefault(group, len(groups))
    counts = np.zeros((len(factors), len(groups)), np.float32)
    for factor, row in factors.items():
        for group, number in factor.parts:
            counts[row, groups[group]] += number

    def pair(product: Term | Kernel) -> tuple[int, ...]:
        return (*(factors[factor] for factor in product.factors), len(factors), len(factors))[:2]

    left, right = np.asarray([pair(term) for _, term in terms]).T
    return FeatureTable(
        groups=tuple(group.name for group in groups),
        sizes=np.asarray([group.size for group in groups], np.float32),
        counts=counts,
        tilings=np.asarray([(*TILINGS, None).index(factor.tiling) for factor in factors]),
        left=left,
        right=right,
        coefficients=np.asarray([term.coefficient for _, term in terms], np.float32),
        kernels=np.asarray([(term.kernel.taps, *pair(term.kernel)) for _, term in terms]).T,
        slots=np.asarray([i * len(WIDTH_FEATURES) + WIDTH_FEATURES.index(term.feature) for i, term in terms]),
        blocks=len(terms_by_block),
    )


def network_latency(network: Network, image_size: tuple[int, int], model: LatencyModel) -> NetworkLatency:
    """The latency of a network as a function of kept counts and path weights.

    Args:
      network: the declaration; every block of the inference network is priced.
      image_size: height and width of the input.
      model: fitted to a device.

    Returns:
      A function, usable inside `jit` and `grad`, of (kept indicators by group name, weights of its choices by
      mixed block). Groups that are missing are full; mixed blocks that are missing run all
      operators, as the supernet does. A path costs in proportion to its weight, skip costs nothing.
    """
    choices, blocks = zip(*network.walk(), strict=True)
    table, context = _features(blocks, image_size, model)
    supernet = {mixed.name: mixed.weights(MIXED) for mixed in network.mixed_blocks}
    # Row of each block's weight among [1, weights of the mixed blocks one after the other].
    order = [(mixed.name, path) for mixed in network.mixed_blocks for path in mixed.choices]
    rows = np.asarray([0 if choice is None else 1 + order.index(choice) for choice in choices])

    def latency(kept: Mapping[str, jax.Array], weights: Mapping[str, jax.Array]) -> jax.Array:
        counts = [kept.get(name, size) for name, size in zip(table.groups, table.sizes, strict=True)]
        widths = table(jnp.stack([jnp.float32(count) for count in counts]), model.arrays["tiles"])
        given = [jnp.asarray(weights.get(name, every), jnp.float32) for name, every in supernet.items()]
        return total_latency(model.arrays, widths, context, jnp.concatenate([jnp.ones(1), *given])[rows])

    return latency


def arch_latency(arch: ArchSpec, image_size: tuple[int, int], model: LatencyModel) -> float:
    """Predicted milliseconds of a decided network."""
    latency = network_latency(declare_spec(arch), image_size, model)
    return float(jax.jit(latency)({}, {}))  # one program: each operation alone would be compiled as well


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Milliseconds of a network, and the ends of their 90 % interval."""

    ms: float
    low_ms: float
    high_ms: float


def predict_arch(arch: ArchSpec, image_size: tuple[int, int], model: LatencyModel) -> Prediction:
    """What a decided network takes, and how sure that is."""
    ms = arch_latency(arch, image_size, model)
    return Prediction(ms, *model.interval(ms))


def latency_by_part(arch: ArchSpec, image_size: tuple[int, int], model: LatencyModel) -> dict[str, float]:
    """Where the predicted milliseconds of a decided network go: its parts in order, then what lies between blocks.

    Stages of the segment branch are parts of their own, the borders of the network belong to the last part; the parts
    add up to `arch_latency`.
    """
    blocks = declare_spec(arch).plain_blocks
    table, context = _features(blocks, image_size, model)

    def priced(sizes: jax.Array) -> tuple[jax.Array, list[Any]]:
        widths = table(sizes, model.arrays["tiles"])
        block_ms = predict_blocks(model.arrays, widths, context)
        return block_ms, network_columns(block_ms, widths, context, jnp.ones(len(blocks)))

    block_ms, (_, *columns) = jax.jit(priced)(table.sizes)
    own, *between = np.asarray(model.arrays["network"], np.float64)
    parts: dict[str, float] = {}
    for block, ms in zip(blocks, np.asarray(block_ms, np.float64), strict=True):
        part = block.name.split("_")[0]  # detail_1_2 and stage16_down_1 belong to detail and stage16
        parts[part] = parts.get(part, 0.0) + own * ms
    return {**parts, "between blocks": float(np.asarray(columns, np.float64) @ np.asarray(between))}


def _features(blocks: Sequence[Block], image_size: tuple[int, int], model: LatencyModel) -> tuple[FeatureTable, Any]:
    """Width features of blocks, and their context [block, feature]."""
    table = feature_table([block_terms(block, image_size, model.precision) for block in blocks])
    return table, jnp.asarray([context_of(block, image_size, model.kinds) for block in blocks], jnp.float32)


def total_latency(
    params: Params, widths: Float[Array, "g f"], context: Float[Array, "g c"], weights: Float[Array, " g"]
) -> Float[Array, ""]:
    """Latency of a network whose blocks have these features and weights."""
    columns = network_columns(predict_blocks(params, widths, context), widths, context, weights)
    return jnp.stack([jnp.asarray(column) for column in columns]) @ params["network"]


def network_columns(
    block_ms: Float[Data, " g"], widths: Float[Data, "g f"], context: Float[Data, "g c"], weights: Float[Data, " g"]
) -> list[Any]:
    """Σ S_b, then traffic and operators of the network, then 1: the columns that `params["network"]` weighs."""
    traffic, operators = widths[:, WIDTH_FEATURES.index("traffic")], context[:, CONTEXT_FEATURES.index("operators")]
    return [*(weights @ column for column in (block_ms, traffic, operators)), 1.0]
