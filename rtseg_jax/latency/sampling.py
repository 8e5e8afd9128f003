"""Which blocks and networks a sweep measures: seeded samples of the search space."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rtseg_jax.architecture import MIXED, PATHS, ArchSpec, Block, Group, Network, NetworkSpec, Tensor, declare


def resize_block(block: Block, widths: Mapping[str, int]) -> Block:
    """The block with other sizes for some of its groups."""

    def resized(tensor: Tensor) -> Tensor:
        groups = tuple(dataclasses.replace(g, size=widths.get(g.name, g.size)) for g in tensor.groups)
        return dataclasses.replace(tensor, groups=groups)

    ops = (
        dataclasses.replace(op, inputs=tuple(map(resized, op.inputs)), output=resized(op.output)) for op in block.ops
    )
    return dataclasses.replace(block, ops=tuple(ops))


def block_groups(block: Block) -> tuple[Group, ...]:
    """Searched groups that a block reads or writes."""
    tensors = (*block.inputs, *(op.output for op in block.ops))
    return tuple(dict.fromkeys(group for tensor in tensors for group in tensor.groups if group.searched))


def sample_blocks(network: Network, number: int, seed: int) -> list[tuple[str, dict[str, int]]]:
    """(Name of a block, widths) pairs: all types of blocks in turn, at full, smallest and random widths."""
    generator = np.random.default_rng(seed)
    turns = {kind: _endless(places, generator) for kind, places in _places(network).items()}
    result: list[tuple[str, dict[str, int]]] = []
    for index in range(number):
        visit, turn = divmod(index, len(turns))
        block = next(list(turns.values())[turn])
        # Of each type the first is full, the second minimal: they bound what has to be interpolated.
        fixed = {0: 1.0, 1: 0.0}.get(visit)
        result.append((block.name, {g.name: _width(g, generator, fixed) for g in block_groups(block)}))
    return result


def _places(network: Network) -> dict[str, list[Block]]:
    """Blocks by type; of those that differ in nothing but their names, one."""
    result: dict[str, dict[tuple[Any, ...], Block]] = {}
    for block in network.plain_blocks:
        shape = tuple(
            (t.stride, tuple(g.size for g in t.groups)) for t in (*block.inputs, *(op.output for op in block.ops))
        )
        result.setdefault(block.kind, {}).setdefault(shape, block)
    return {kind: list(blocks.values()) for kind, blocks in result.items()}


def _endless(places: list[Block], generator: np.random.Generator) -> Iterator[Block]:
    """All places in random order, then all again."""
    while True:
        for index in generator.permutation(len(places)):
            yield places[index]


def sample_networks(spec: NetworkSpec, number: int, seed: int) -> list[ArchSpec]:
    """The supernet, its uniform scalings, and networks of random widths and paths, in turn."""
    network = declare(spec)
    generator = np.random.default_rng([seed, 1])
    groups, mixed = network.searched_groups, [block.name for block in network.mixed_blocks]
    both = dict.fromkeys(mixed, MIXED)
    result = [ArchSpec(spec, {group.name: group.size for group in groups}, both)]
    while len(result) < number:
        # Half of the networks shrink as a whole, as decided ones do; the others in each group by itself.
        together = generator.uniform(0.1, 1.0) if len(result) % 2 else None
        widths = {group.name: _width(group, generator, together) for group in groups}
        paths = {name: PATHS[generator.integers(len(PATHS))] for name in mixed}
        result.append(living(network, ArchSpec(spec, widths, both if len(result) % 4 == 3 else paths)))
    return result


def living(network: Network, arch: ArchSpec) -> ArchSpec:
    """The same architecture without the widths that its paths leave out; `network` is the supernet."""
    taken = (block for choice, block in network.walk() if choice is None or arch.paths[choice[0]] in (choice[1], MIXED))
    alive = {group.name for block in taken for group in block_groups(block)}
    return dataclasses.replace(arch, widths={name: width for name, width in arch.widths.items() if name in alive})


def _width(group: Group, generator: np.random.Generator, factor: float | None) -> int:
    """A width at a factor of the full one; at a random one, even in its logarithm, where None."""
    if factor is None:
        factor = float(np.exp(generator.uniform(np.log(group.floor / group.size), 0.0)))
    return group.snap(round(factor * group.size))
