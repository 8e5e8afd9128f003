"""What training carries from step to step."""

from typing import Any

import flax.struct


@flax.struct.dataclass
class TrainState:
    """Weights, statistics, optimizer states; the architecture only while it is being searched.

    Leaves are arrays, or their shapes where only those are known.

    Attributes:
      step: number of finished steps of the phase, int32.
      params: trainable weights.
      batch_stats: running statistics of batch norm.
      opt_state: of the weights' optimizer.
      arch: `WorthParams` or `ArchParams`, or None.
      arch_opt_state: of their optimizer, or None.
      beta_control: `BetaControl` of a search, or None where β is constant.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    arch: Any = None
    arch_opt_state: Any = None
    beta_control: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """What a network is applied with."""
        return {"params": self.params, "batch_stats": self.batch_stats}
