"""What is left of a supernet once widths and paths are decided."""

import dataclasses
from collections.abc import Callable, Mapping

from rtseg_jax.architecture.arch_spec import ArchSpec, live_groups
from rtseg_jax.architecture.graph import MIXED, SKIP, Block, Mixed, Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec
from rtseg_jax.errors import UserError

Widths = Mapping[str, int]
Paths = Mapping[str, str]
Swap = Callable[[Tensor], Tensor]


def declare(spec: NetworkSpec) -> Network:
    """The network of a specification, every choice open."""
    return spec.declare()


def declare_spec(arch: ArchSpec) -> Network:
    """The network of an architecture that was decided; raises `UserError` where it does not fit its supernet."""
    return decided(arch.network.declare(), arch.widths, arch.paths)


def decided(supernet: Network, widths: Widths, paths: Paths) -> Network:
    """The network with one path in every mixed block and with these widths in its searched groups.

    Raises:
      UserError: widths or paths do not fit the supernet.
    """
    _check_paths(supernet, paths)
    _check_widths(supernet, widths, paths)
    taken: dict[Tensor, Tensor] = {}  # where another tensor stands for one of the supernet's

    def swap(tensor: Tensor) -> Tensor:
        return taken.get(tensor) or resized(tensor, widths)

    blocks: list[Block | Mixed] = []
    for block in supernet.blocks:
        if isinstance(block, Block):
            blocks.append(rewired(block, swap))
            continue
        path = paths[block.name]
        if path == MIXED:
            inner = tuple((name, rewired(operator, swap)) for name, operator in block.paths)
            blocks.append(Mixed(block.name, block.part, swap(block.input), swap(block.output), inner))
        elif path == SKIP:
            taken[block.output] = swap(block.input)
        else:
            operator = rewired(dict(block.paths)[path], swap)
            blocks.append(operator)
            taken[block.output] = operator.output
    return Network(supernet.image, tuple(blocks), tuple(rewired(head, swap) for head in supernet.auxiliary))


def resize_block(block: Block, widths: Widths) -> Block:
    """The block with other sizes for some of its groups."""
    return rewired(block, lambda tensor: resized(tensor, widths))


def resized(tensor: Tensor, widths: Widths) -> Tensor:
    """The tensor with other sizes for some of its groups."""
    groups = tuple(dataclasses.replace(group, size=widths.get(group.name, group.size)) for group in tensor.groups)
    return dataclasses.replace(tensor, groups=groups)


def rewired(block: Block, swap: Swap) -> Block:
    """The block with other tensors."""
    ops = (dataclasses.replace(op, inputs=tuple(map(swap, op.inputs)), output=swap(op.output)) for op in block.ops)
    return dataclasses.replace(block, ops=tuple(ops))


def _check_paths(supernet: Network, paths: Paths) -> None:
    for mixed in supernet.mixed_blocks:
        path = paths.get(mixed.name)
        if path not in (*mixed.choices, MIXED):
            choices = ", ".join(mixed.choices)
            raise UserError(f"architecture: path of {mixed.name} is {path!r}; it must be one of {choices}")
    _refuse_unknown(paths, {mixed.name for mixed in supernet.mixed_blocks})


def _check_widths(supernet: Network, widths: Widths, paths: Paths) -> None:
    groups = live_groups(supernet, paths)
    for group in groups:
        if group.name not in widths:
            raise UserError(f"architecture: no width for channel group {group.name}; it belongs to another supernet")
        width = widths[group.name]
        if not isinstance(width, int) or not 1 <= width <= group.size:
            raise UserError(
                f"architecture: width of {group.name} is {width}; it must be a whole number from 1 to {group.size}"
            )
    _refuse_unknown(widths, {group.name for group in groups})


def _refuse_unknown(named: Mapping[str, object], known: set[str]) -> None:
    unknown = sorted(set(named) - known)
    if unknown:
        raise UserError(f"architecture: {unknown[0]} is no part of this supernet; it belongs to another one")
