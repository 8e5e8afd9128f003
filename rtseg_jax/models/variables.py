"""A network's variables as its declaration has them: nothing is traced to know their names and shapes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from rtseg_jax.architecture import Block, Network
from rtseg_jax.architecture.graph import Weight

Tree = Any
Path = tuple[str, ...]

COLLECTIONS = ("params", "batch_stats")
"""Flax's names of what is trained and of what is estimated."""


def collection(weight: Weight) -> str:
    """Which of `COLLECTIONS` a weight belongs to."""
    return "params" if weight.trained else "batch_stats"


def network_tree(network: Network, make: Callable[[Path, Weight], Any]) -> dict[str, Tree]:
    """Variables of a network, heads of training included: `make` gets the path of each, the block's name first."""
    return blocks_tree((((block.name,), block) for block in network.every_block), make)


def blocks_tree(blocks: Iterable[tuple[Path, Block]], make: Callable[[Path, Weight], Any]) -> dict[str, Tree]:
    """Variables of blocks, each of them below a path: below none it is that of a block alone."""
    result: dict[str, Tree] = {name: {} for name in COLLECTIONS}
    for above, block in blocks:
        for name, weight in block.weights.items():
            path = (*above, *name)
            insert(result[collection(weight)], path, make(path, weight))
    return result


def grafted(tree: Tree, known: Tree) -> Tree:
    """The tree with the leaves of `known` in the places that both have."""
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(known)}
    return jax.tree_util.tree_map_with_path(lambda path, leaf: leaves.get(jax.tree_util.keystr(path), leaf), tree)


def nested(leaves: Iterable[tuple[Path, Any]]) -> Tree:
    """A tree of its leaves."""
    result: Tree = {}
    for path, leaf in leaves:
        insert(result, path, leaf)
    return result


def insert(tree: Tree, path: Path, leaf: Any) -> None:
    """Puts a leaf into a tree of dictionaries."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf


def lookup(tree: Mapping[str, Any], path: Path) -> Any:
    """The leaf or tree at a path; raises `KeyError` where there is none."""
    for name in path:
        tree = tree[name]
    return tree
