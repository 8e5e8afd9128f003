"""Cutting the weights of a decided network out of the supernet's."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rtseg_jax.architecture import Network
from rtseg_jax.architecture.graph import Groups, Weight
from rtseg_jax.models.variables import collection, insert, lookup

Kept = Mapping[str, np.ndarray]
Tree = Any


def slice_variables(variables: Mapping[str, Tree], supernet: Network, network: Network, kept: Kept) -> dict[str, Tree]:
    """Variables of `network`, whose kept indicators in `supernet` are named by index.

    Cut on the host: every slice has a shape of its own, for each of which a device would compile a program.

    Args:
      variables: `params` and `batch_stats` of the supernet.
      supernet: its declaration.
      network: declaration of what was decided.
      kept: indices of the kept indicators, by group; groups that are missing stay whole.
    """
    source = {block.name: block for block in (*supernet.plain_blocks, *supernet.auxiliary)}
    result: dict[str, Tree] = {collection: {} for collection in variables}
    for block in (*network.plain_blocks, *network.auxiliary):
        for name, weight in source[block.name].weights.items():
            kind, path = collection(weight), (block.name, *name)
            if block.name in variables.get(kind, {}):  # a state of an optimizer has parameters only
                insert(result[kind], path, _cut(weight, lookup(variables[kind], path), kept))
    return result


def slice_like_params(state: Tree, params: Tree, supernet: Network, network: Network, kept: Kept) -> Tree:
    """An optimizer's state with every part that is shaped like `params` sliced as those are: momentum goes along."""
    structure = jax.tree.structure(params)

    def is_params(tree: Tree) -> bool:
        found: Any = jax.tree.structure(tree)
        return found == structure

    def cut(tree: Tree) -> Tree:
        return slice_variables({"params": tree}, supernet, network, kept)["params"] if is_params(tree) else tree

    return jax.tree.map(cut, state, is_leaf=is_params)


def _cut(weight: Weight, leaf: Any, kept: Kept) -> Any:
    for axis, runs_over in enumerate(weight.axes):
        if not isinstance(runs_over, int):
            leaf = np.take(np.asarray(leaf), _channels(runs_over, kept), axis)
    return leaf


def _channels(groups: Groups, kept: Kept) -> np.ndarray:
    """Indices of the kept channels of groups side by side."""
    parts, offset = [], 0
    for group in groups:
        indices = np.asarray(kept.get(group.name, np.arange(group.size)))
        parts.append(offset + (indices[:, None] * group.unit + np.arange(group.unit)).reshape(-1))
        offset += group.channels
    return np.concatenate(parts)
