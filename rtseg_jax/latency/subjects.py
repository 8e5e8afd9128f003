"""What is measured: a block of a supernet, or a whole network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rtseg_jax.architecture import ArchSpec, Block, Network, NetworkSpec, declare, declare_spec
from rtseg_jax.latency.sampling import resize_block


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured: a block at some widths, or a whole network where `block` is None.

    Attributes:
      arch: the network's architecture; of a block only `network` and the widths of its own groups.
      block: name of the block in the supernet.
    """

    arch: ArchSpec
    block: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return {"arch": self.arch.to_json(), "block": self.block}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Subject":
        """Inverse of `to_json`."""
        return Subject(ArchSpec.from_json(value["arch"]), value["block"])

    def declare(self) -> Block | Network:
        """The declaration at the measured widths."""
        if self.block is None:
            return declare_spec(self.arch)
        blocks = {block.name: block for block in declare(self.arch.network).plain_blocks}
        return resize_block(blocks[self.block], self.arch.widths)


def block_subject(spec: NetworkSpec, block: str, widths: Mapping[str, int]) -> Subject:
    """A block of the supernet of `spec` at some widths."""
    return Subject(ArchSpec(spec, widths, {}), block)
