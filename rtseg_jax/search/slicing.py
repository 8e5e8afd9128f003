"""Cutting the weights of a decided network out of the supernet's."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rtseg_jax.architecture import Group, Network, Tensor, graph
from rtseg_jax.architecture.graph import Op

Kept = Mapping[str, np.ndarray]
Tree = Any


def slice_variables(variables: Mapping[str, Tree], supernet: Network, network: Network, kept: Kept) -> dict[str, Tree]:
    """Variables of `network`, whose kept indicators in `supernet` are named by index.

    Args:
      variables: `params` and `batch_stats` of the supernet.
      supernet: its declaration.
      network: declaration of what was decided.
      kept: indices of the kept indicators, by group; groups that are missing stay whole.
    """
    source = {block.name: block for block in (*supernet.plain_blocks, *supernet.auxiliary)}
    result: dict[str, Tree] = {collection: {} for collection in variables}
    for block in (*network.plain_blocks, *network.auxiliary):
        for op in source[block.name].ops:
            for collection, tree in variables.items():
                if op.name in tree.get(block.name, {}):
                    leaf = _slice_op(op, tree[block.name][op.name], kept)
                    result[collection].setdefault(block.name, {})[op.name] = leaf
    return result


def slice_like_params(state: Tree, params: Tree, supernet: Network, network: Network, kept: Kept) -> Tree:
    """An optimizer's state with every part that is shaped like `params` sliced as those are: momentum goes along."""
    structure = jax.tree.structure(params)

    def is_params(tree: Tree) -> bool:
        return jax.tree.structure(tree) == structure

    def cut(tree: Tree) -> Tree:
        return slice_variables({"params": tree}, supernet, network, kept)["params"] if is_params(tree) else tree

    return jax.tree.map(cut, state, is_leaf=is_params)


def _slice_op(op: Op, tree: Tree, kept: Kept) -> Tree:
    rows = None if isinstance(op, graph.Conv) and op.depthwise else _channels(op.inputs[0], kept)
    columns = _channels(op.output, kept)

    def cut(leaf: Any) -> Any:
        if isinstance(leaf, Mapping):
            return {name: cut(value) for name, value in leaf.items()}
        leaf = leaf[..., columns]
        return leaf if leaf.ndim == 1 or rows is None else leaf[..., rows, :]

    return cut(tree)


def _channels(tensor: Tensor, kept: Kept) -> Any:
    """Indices of a tensor's kept channels."""
    parts, offset = [], 0
    for group in tensor.groups:
        indices = np.asarray(kept.get(group.name, np.arange(group.size)))
        parts.append(offset + (indices[:, None] * group.unit + np.arange(group.unit)).reshape(-1))
        offset += group.size * group.unit
    return jnp.asarray(np.concatenate(parts))


def masks_of(network: Network, kept: Kept) -> dict[str, Any]:
    """The masks under which the supernet computes what the sliced network computes."""
    return {group.name: _mask(group, kept) for group in network.searched_groups}


def _mask(group: Group, kept: Kept) -> Any:
    mask = np.zeros(group.size, np.float32)
    mask[kept.get(group.name, np.arange(group.size))] = 1.0
    return jnp.asarray(mask)
