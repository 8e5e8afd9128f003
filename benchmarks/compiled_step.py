"""A step of the product's training, compiled ahead of time, as benchmarks call it."""

from typing import Any

import jax

from rtseg_jax.training.loop import compile_step
from rtseg_jax.training.placement import Placement
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import Batch, StepSetup


class CompiledStep:
    """Every call goes on from the state that the last one left, and returns the loss.

    Attributes:
      memory: what XLA reserves for it.
      costs: XLA's analysis.
    """

    def __init__(self, setup: StepSetup, state: TrainState, batch: Batch, placement: Placement):
        self._state, self._batch = state, placement.put_batch(batch)
        self._compiled = compile_step(setup, state, placement).lower(state, self._batch, None).compile()
        self.memory: Any = self._compiled.memory_analysis()
        self.costs: Any = self._compiled.cost_analysis()

    def __call__(self) -> float:
        """The loss."""
        self._state, metrics = self._compiled(self._state, self._batch, None)
        jax.block_until_ready(self._state)
        return float(metrics["losses"]["total"])
