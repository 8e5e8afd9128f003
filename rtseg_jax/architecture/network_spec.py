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
      detail_blocks: convolutions of the detail branch at 1/2, 1/4, 1/8; the first of each has stride 2.
      segment_blocks: stride-1 blocks after the downsampling at 1/8, 1/16, 1/32.
      stage_widths: factors on the channels of the segment branch at 1/8, 1/16, 1/32; context embedding counts as 1/32.
      head_channels: of the head's convolution at width 1.0.
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
    detail_blocks: tuple[int, int, int] = (2, 3, 3)
    segment_blocks: tuple[int, int, int] = (2, 2, 3)
    stage_widths: tuple[float, float, float] = (1.0, 1.0, 1.0)
    head_channels: int = 1024
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
        for name in ("segment_blocks", "patch_sizes", "stage_widths"):
            if len(getattr(self, name)) != len(STAGE_STRIDES):
                raise UserError(f"network.{name} needs three numbers: for 1/8, 1/16 and 1/32")
        if len(self.detail_blocks) != 3 or min(self.detail_blocks) < 1:
            raise UserError("network.detail_blocks needs three numbers of at least 1: for 1/2, 1/4 and 1/8")
        if min(self.stage_widths) <= 0 or self.head_channels < 1:
            raise UserError("network.stage_widths and network.head_channels must be positive")

    def channels(self, base: float) -> int:
        """Width of a layer that has `base` channels at width 1.0, rounded to a multiple of 8."""
        return max(8, round(base * self.width / 8) * 8)
