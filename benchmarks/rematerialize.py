"""What `train.rematerialize` saves and costs: memory, arithmetic and time of a training step, in turns, on this CPU.

    python -m benchmarks.rematerialize [--batch 4] [--size 128 256] [--width 1.0] [--rounds 5]

The step is that of `rtseg_jax.training`, of the network in `benchmarks.train_step`. Memory is what XLA reserves besides
state and batch, arithmetic what its cost analysis counts. Times are processor seconds, the least of all rounds.
"""

import argparse
import dataclasses
import os
import time
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import optax

from benchmarks.compiled_step import CompiledStep
from benchmarks.train_step import SPEC, random_batch
from rtseg_jax.architecture import declare
from rtseg_jax.models import SegmentationNetwork, initial_variables
from rtseg_jax.models.convolution import default_lowering
from rtseg_jax.training.losses import LossSpec
from rtseg_jax.training.phases import initial_state
from rtseg_jax.training.placement import make_placement
from rtseg_jax.training.specs import MeshSpec
from rtseg_jax.training.step import StepSetup


class Step(CompiledStep):
    """A step whose processor seconds are kept."""

    def __init__(self, rematerialize: bool, width: float, batch: Any):
        network = declare(dataclasses.replace(SPEC, width=width))
        model = SegmentationNetwork(network, lowering=default_lowering(), rematerialize=rematerialize)
        setup = StepSetup(model, optax.sgd(0.05, momentum=0.9), LossSpec(), seed=0)
        placement = make_placement(MeshSpec(), jax.devices()[:1])
        super().__init__(setup, initial_state(setup, initial_variables(model, 0), placement), batch, placement)
        self.seconds: list[float] = []

    def __call__(self) -> float:
        """The loss; what the step took is kept."""
        began = time.process_time()
        loss = super().__call__()
        self.seconds.append(time.process_time() - began)
        return loss


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), help="multiples of 32")
    parser.add_argument("--width", type=float, default=SPEC.width)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    batch = random_batch(arguments.batch, tuple(arguments.size))
    steps = {name: Step(name == "on", arguments.width, batch) for name in ("off", "on")}
    for number in range(arguments.rounds + 1):
        losses = {name: step() for name, step in steps.items()}
        if number < 2:
            print("losses", " ".join(f"{name} {loss:.5f}" for name, loss in losses.items()), flush=True)
    print(f"{'rematerialize':14}{'MB':>9}{'GFLOP':>9}{'s':>9}")
    for name, step in steps.items():
        megabytes, gflop = step.memory.temp_size_in_bytes / 1e6, step.costs["flops"] / 1e9
        print(f"{name:14}{megabytes:9.1f}{gflop:9.2f}{min(step.seconds[1:]):9.3f}")


if __name__ == "__main__":
    main()
