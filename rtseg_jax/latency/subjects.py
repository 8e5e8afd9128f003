"""What is measured: a block of a supernet, or a whole network, at an image size."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rtseg_jax.architecture import ArchSpec, Block, Network, NetworkSpec, declare, declare_spec
from rtseg_jax.architecture.decided import resize_block

Size = tuple[int, int]
"""Height and width of the network's input."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured: a block at some widths, or a whole network where `block` is None.

    Attributes:
      arch: the network's architecture; of a block only `network` and the widths of its own groups.
      image_size: height and width of the network's input.
      block: name of the block in the supernet.
    """

    arch: ArchSpec
    image_size: Size
    block: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return {"arch": self.arch.to_json(), "image_size": list(self.image_size), "block": self.block}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Subject":
        """Inverse of `to_json`."""
        return Subject(ArchSpec.from_json(value["arch"]), tuple(value["image_size"]), value["block"])

    def declare(self) -> Block | Network:
        """The declaration at the measured widths."""
        if self.block is None:
            return declare_spec(self.arch)
        blocks = {block.name: block for block in declare(self.arch.network).plain_blocks}
        return resize_block(blocks[self.block], self.arch.widths)


def block_subject(spec: NetworkSpec, block: str, widths: Mapping[str, int], image_size: Size) -> Subject:
    """A block of the supernet of `spec` at some widths."""
    return Subject(ArchSpec(spec, widths, {}), image_size, block)
