"""The trainable architecture, and samples of it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rtseg_jax.architecture import Group, Network
from rtseg_jax.architecture.graph import Op
from rtseg_jax.models import Architecture
from rtseg_jax.models.variables import lookup
from rtseg_jax.search.estimators import binarize, sample_path

INITIAL_INDICATOR = 1.0
INITIAL_SPREAD = 0.25  # equal indicators get equal gradients of cost and would flip together


class ArchParams(NamedTuple):
    """What the search trains.

    Attributes:
      widths: indicators, by group.
      paths: logits of its choices, by mixed block.
    """

    widths: Mapping[str, Float[Array, " g"]]
    paths: Mapping[str, Float[Array, " _"]]


def initialize(network: Network, params: Mapping[str, Any], seed: int) -> ArchParams:
    """Indicators around 1, spread by the rank of each channel's importance in the trained supernet; even paths.

    Importance is the mean |batch-norm scale| of what writes the channel, or its kernel's norm where there is no batch
    norm (ours); equals are told apart by a seeded permutation.
    """
    rng = np.random.default_rng(seed)
    values = importance(network, params)
    widths = {}
    for group in network.searched_groups:
        order = np.lexsort((rng.permutation(group.size), values[group.name]))
        offsets = np.linspace(-INITIAL_SPREAD, INITIAL_SPREAD, group.size)
        indicators = np.empty(group.size, np.float32)
        indicators[order] = INITIAL_INDICATOR + offsets
        widths[group.name] = jnp.asarray(indicators)
    return ArchParams(widths, {mixed.name: jnp.zeros(len(mixed.choices)) for mixed in network.mixed_blocks})


def importance(network: Network, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Of every indicator that has a kernel writing it, by group."""
    found: dict[str, list[np.ndarray]] = {}
    for block in network.plain_blocks:
        for op in block.ops:
            for group, values in _op_importance(op, params[block.name] if op.weights else {}):
                found.setdefault(group.name, []).append(values)
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def _op_importance(op: Op, params: Mapping[str, Any]) -> Iterator[tuple[Group, np.ndarray]]:
    """Of every indicator that an operator with a kernel writes, by group."""
    weights = {weight.role: weight for weight in op.weights}
    if "kernel" not in weights:
        return
    if "scale" in weights:
        per_channel = np.abs(np.asarray(lookup(params, weights["scale"].name)))
    else:
        per_channel = np.sqrt(np.square(np.asarray(lookup(params, weights["kernel"].name))).sum((0, 1, 2)))
    for group in op.output.groups:
        own, per_channel = np.split(per_channel, [group.channels])
        yield group, own.reshape(group.size, group.unit).mean(-1)


def width_masks(network: Network, widths: Mapping[str, Float[Array, " _"]]) -> dict[str, Float[Array, " _"]]:
    """Masks of every searched group, with straight-through gradients."""
    return {group.name: binarize(widths[group.name], group.floor, group.multiple) for group in network.searched_groups}


def sample(network: Network, arch_params: ArchParams, key: jax.Array, temperature: Float[Array, ""]) -> Architecture:
    """One sample: thresholded widths, one Gumbel-softmax path per mixed block (its noise from `key`)."""
    names = sorted(arch_params.paths)
    keys = jax.random.split(key, max(1, len(names)))
    noise = {name: jax.random.gumbel(k, arch_params.paths[name].shape) for name, k in zip(names, keys, strict=False)}
    paths = {name: sample_path(arch_params.paths[name], noise[name], temperature) for name in names}
    return Architecture(width_masks(network, arch_params.widths), paths)


def path_probabilities(arch_params: ArchParams) -> dict[str, Float[Array, " _"]]:
    """Softmax of the path logits: the weights of the term of cost."""
    return {name: jax.nn.softmax(logits) for name, logits in arch_params.paths.items()}
