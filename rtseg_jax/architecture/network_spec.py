"""What a network is built from: a handful of numbers."""

import dataclasses
from typing import Literal

from rtseg_jax.errors import UserError

STAGE_STRIDES = (8, 16, 32)


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """Shape of a dual-branch network; channel counts are those of BiSeNetV2 at width 1.0.

    Attributes:
      num_classes: classes that are predicted, the ignored one not counted.
      block: what follows a downsampling layer: `mixed` (the supernet), `lir`, or BiSeNetV2's `gather_expansion`.
      width: factor on every channel count, the head's included; results are rounded to multiples of 8.
      segment_blocks: stride-1 blocks after the downsampling at 1/8, 1/16, 1/32.
      patch_sizes: P of the attention paths at 1/8, 1/16, 1/32; a token is as wide as P²·C.
      expansion: expansion of LIR, downsampling and gather-expansion layers.
      mlp_ratio: width of a token's MLP over the token's.
      head_width: channels of one attention head; constant, so that 1/√d stays fixed when heads are removed.
      auxiliary_channels: width of the auxiliary heads.
      dropout: rate in the head.
    """

    num_classes: int
    block: Literal["mixed", "lir", "gather_expansion"] = "mixed"
    width: float = 2.19
    segment_blocks: tuple[int, int, int] = (2, 2, 3)
    patch_sizes: tuple[int, int, int] = (2, 1, 1)
    expansion: int = 6
    mlp_ratio: int = 4
    head_width: int = 32
    auxiliary_channels: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise UserError(f"network.num_classes is {self.num_classes}: a segmentation needs at least 2 classes")
        if self.width <= 0:
            raise UserError(f"network.width is {self.width}: it must be positive")
        if self.block not in ("mixed", "lir", "gather_expansion"):
            raise UserError(f"network.block is {self.block!r}: it must be mixed, lir or gather_expansion")
        if len(self.segment_blocks) != len(STAGE_STRIDES) or len(self.patch_sizes) != len(STAGE_STRIDES):
            raise UserError("network.segment_blocks and network.patch_sizes need three numbers: for 1/8, 1/16 and 1/32")

    def channels(self, base: int) -> int:
        """Width of a layer that has `base` channels at width 1.0, rounded to a multiple of 8."""
        return max(8, round(base * self.width / 8) * 8)
