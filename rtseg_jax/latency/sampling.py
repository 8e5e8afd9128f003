"""Which blocks and networks a sweep measures: seeded samples of the search space."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from rtseg_jax.architecture import MIXED, ArchSpec, Block, Group, Network, NetworkSpec, declare, live_groups
from rtseg_jax.latency.subjects import Size, Subject, block_subject

T = TypeVar("T")

SCALES = (0.5, 1.25, 0.75)
"""Of the image's sides, for blocks that show what another resolution costs."""

OTHER_RESOLUTION = 5  # one visit in so many has one of these scales
DRAWS = 10  # for each block or network at most, where the same ones come again
SIDE_MULTIPLE = 32  # of scaled sides: the coarsest feature map has no part of a pixel


def block_groups(block: Block) -> tuple[Group, ...]:
    """Searched groups that a block reads or writes."""
    tensors = (*block.inputs, *(op.output for op in block.ops))
    return tuple(dict.fromkeys(group for tensor in tensors for group in tensor.groups if group.searched))


def sample_blocks(spec: NetworkSpec, image_size: Size, number: int, seed: int) -> list[Subject]:
    """Blocks of all types in turn, at full, smallest and random widths, some at other resolutions; no block twice.

    Small search spaces may have fewer blocks than `number`.
    """
    draws = _random_blocks(spec, image_size, np.random.default_rng(seed))
    return _distinct(draws, number, lambda subject: json.dumps(subject.to_json()))


def _random_blocks(spec: NetworkSpec, image_size: Size, generator: np.random.Generator) -> Iterator[Subject]:
    turns = [_endless(places, generator) for places in _places(declare(spec)).values()]
    scales = itertools.cycle(SCALES)
    for visit in itertools.count():
        for places in turns:
            block = next(places)
            # Of each type the first is full, the second minimal: they bound what has to be interpolated.
            fixed = {0: 1.0, 1: 0.0}.get(visit)
            widths = {g.name: _width(g, generator, fixed) for g in block_groups(block)}
            other = visit % OTHER_RESOLUTION == OTHER_RESOLUTION - 1
            size = scaled_size(image_size, next(scales)) if other else image_size
            yield block_subject(spec, block.name, widths, size)


def scaled_size(image_size: Size, scale: float) -> Size:
    """An image size at a scale, in whole pixels of the coarsest feature map."""
    height, width = (max(1, round(scale * side / SIDE_MULTIPLE)) * SIDE_MULTIPLE for side in image_size)
    return height, width


def _places(network: Network) -> dict[str, list[Block]]:
    """Blocks by type; of those that differ in nothing but their names, one."""
    result: dict[str, dict[tuple[Any, ...], Block]] = {}
    for block in network.plain_blocks:
        shape = tuple(
            (t.extent, tuple(g.size for g in t.groups)) for t in (*block.inputs, *(op.output for op in block.ops))
        )
        result.setdefault(block.kind, {}).setdefault(shape, block)
    return {kind: list(blocks.values()) for kind, blocks in result.items()}


def _endless(places: list[Block], generator: np.random.Generator) -> Iterator[Block]:
    """All places in random order, then all again."""
    while True:
        for index in generator.permutation(len(places)):
            yield places[index]


def sample_networks(spec: NetworkSpec, number: int, seed: int) -> list[ArchSpec]:
    """The supernet, and random networks that shrink it as a whole or in each group by itself, in turns; none twice."""
    network = declare(spec)
    both = {block.name: MIXED for block in network.mixed_blocks}
    supernet = ArchSpec(spec, {group.name: group.size for group in network.searched_groups}, both)
    draws = _random_networks(spec, 1, np.random.default_rng([seed, 1]))
    return _distinct(itertools.chain([supernet], draws), number, _digest)


def sample_unseen_networks(spec: NetworkSpec, number: int, seed: int, seen: Iterable[ArchSpec] = ()) -> list[ArchSpec]:
    """Random networks of the same kind, none of them twice and none that was `seen`."""
    return _distinct(_random_networks(spec, 0, np.random.default_rng([seed, 2])), number, _digest, map(_digest, seen))


def _digest(arch: ArchSpec) -> str:
    return arch.digest


def _distinct(draws: Iterator[T], number: int, key: Callable[[T], str], seen: Iterable[str] = ()) -> list[T]:
    """The first so many whose keys differ from each other and from those seen; fewer where the space is small."""
    known = set(seen)
    result: list[T] = []
    limited = itertools.islice(draws, DRAWS * number)
    while len(result) < number and (drawn := next(limited, None)) is not None:
        if key(drawn) not in known:
            known.add(key(drawn))
            result.append(drawn)
    return result


def _random_networks(spec: NetworkSpec, start: int, generator: np.random.Generator) -> Iterator[ArchSpec]:
    network = declare(spec)
    return (_random_network(spec, network, index, generator) for index in itertools.count(start))


def _random_network(spec: NetworkSpec, network: Network, index: int, generator: np.random.Generator) -> ArchSpec:
    """One in two shrinks as a whole, as decided networks do; one in four runs both operators of its mixed blocks."""
    together = generator.uniform(0.1, 1.0) if index % 2 else None
    widths = {group.name: _width(group, generator, together) for group in network.searched_groups}
    paths = {b.name: b.choices[generator.integers(len(b.choices))] for b in network.mixed_blocks}
    return living(network, ArchSpec(spec, widths, dict.fromkeys(paths, MIXED) if index % 4 == 3 else paths))


def living(network: Network, arch: ArchSpec) -> ArchSpec:
    """The same architecture without the widths that its paths leave out; `network` is the supernet."""
    alive = live_groups(network, arch.paths)
    return dataclasses.replace(arch, widths={group.name: arch.widths[group.name] for group in alive})


def _width(group: Group, generator: np.random.Generator, factor: float | None) -> int:
    """A width at a factor of the full one; at a random one, even in its logarithm, where None."""
    if factor is None:
        factor = float(np.exp(generator.uniform(np.log(group.floor / group.size), 0.0)))
    return group.snap(round(factor * group.size))
