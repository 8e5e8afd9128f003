"""What training methods need of a declaration: the map that classes are told from, and a head that finds edges."""

import dataclasses

from rtseg_jax.architecture.builder import Builder, fixed
from rtseg_jax.architecture.graph import Block, Mixed, Network, Tensor
from rtseg_jax.architecture.operators import Dropout
from rtseg_jax.errors import UserError

NAME = "detail_head"
WIDTH = 64  # as in STDC's code
STRIDE = 8
PICTURE = (512, 1024)  # at which a block's stride is told


def features(network: Network) -> Tensor:
    """What the first operator of the last block reads that makes one channel for each class; dropout aside."""
    last = network.plain_blocks[-1]
    writers = {op.output: op for op in last.ops}
    (tensor, *_) = next(op.inputs for op in last.ops if op.weights and op.output.groups == last.output.groups)
    while isinstance(writer := writers.get(tensor), Dropout):
        (tensor,) = writer.inputs
    return tensor


def with_detail_head(network: Network, at: str = "") -> Network:
    """The network with a head that says of each pixel whether a class ends there.

    Args:
      network: any one that has none.
      at: name of the block whose output the head reads; empty for `default_block`. A search may take mixed blocks
        away, so none of them can be named.

    Raises:
      UserError: the network has no such block.
    """
    names = {block.name: block for block in network.blocks if isinstance(block, Block)}
    if at and at not in names:
        raise UserError(f"config.loss.detail_at is {at!r}, no block of this network; there are {', '.join(names)}")
    source = (names[at] if at else default_block(network)).output
    b = Builder(NAME, "head", NAME, fixed, padding="centred")
    x = b.conv("conv", source, WIDTH, activation="relu")
    x = b.conv("edges", x, 1, kernel=1, norm=False)
    b.resize("logits", x, network.image, align_corners=True)
    return dataclasses.replace(network, detail=b.build())


def default_block(network: Network) -> Block | Mixed:
    """The last of the first blocks that write at 1/8, as STDC has it; raises `UserError` where none does."""
    found: Block | Mixed | None = None
    for block in network.blocks:
        if round(PICTURE[0] / block.output.size(PICTURE)[0]) == STRIDE:
            found = block
        elif found is not None:
            return found
    if found is None:
        raise UserError(
            "config.loss.detail: no block of this network writes at 1/8; name one with config.loss.detail_at"
        )
    return found
