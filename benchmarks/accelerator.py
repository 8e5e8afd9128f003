"""Training steps on a GPU, in bfloat16: the supernet while it is searched, and a plain network beside PyTorch.

    python -m benchmarks.accelerator [--config configs/search.py] [--batch 8] [--size 512 1024] [--seconds 60]

Contenders take turns in one run: the search by worth of the config's supernet, with auxiliary heads; the width 1.0 LIR
network of `benchmarks.train_step`, here and, where PyTorch is installed, there: compiled, channels last, autocast.
Utilization is 6 operations for each multiplication of a forward pass without auxiliary heads, over `--peak`. Memory is
what XLA reserves for a step with its arguments, and the most that PyTorch had allocated.
"""

import argparse
import dataclasses
import os
import statistics
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch shares the device

import jax
import numpy as np

from benchmarks.compiled_step import CompiledStep
from benchmarks.scaling import search_setup
from benchmarks.train_step import INSTALL, SPEC, measure, plain_setup, random_batch, torch, torch_run
from rtseg_jax.architecture import Network, counts, declare
from rtseg_jax.command_line import load_config
from rtseg_jax.config import run_spec
from rtseg_jax.models import SegmentationNetwork, initial_variables
from rtseg_jax.search.worth_params import initial_worth
from rtseg_jax.training.phases import initial_state
from rtseg_jax.training.placement import Placement, make_placement
from rtseg_jax.training.specs import MeshSpec
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import StepSetup

PEAK = 989.5
"""TFLOP/s of bfloat16: NVIDIA H100 SXM and H200 data sheets, 1,979 with sparsity, half of it without."""

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Contender:
    """One step that is measured.

    Attributes:
      run: takes it; the loss.
      macs: multiplications of a forward pass of one picture.
      bytes: what it takes of the device's memory, asked after it has run.
    """

    run: Callable[[], float]
    macs: int
    bytes: Callable[[], int]


def here(setup: StepSetup, state: TrainState, batch: Batch, placement: Placement) -> Contender:
    """The product's step."""
    step = CompiledStep(setup, state, batch, placement)
    macs = counts.macs(setup.model.network, batch["label"].shape[1:])
    return Contender(step, macs, lambda: step.memory.argument_size_in_bytes + step.memory.temp_size_in_bytes)


def searched(config: str, pictures: int, size: tuple[int, int], placement: Placement) -> Contender:
    """The search by worth of a config's supernet."""
    settings = load_config(config)
    settings.batch_size, settings.data.train_size = pictures, size
    spec = run_spec(settings)
    batch = random_batch(pictures, size, spec.network.num_classes)
    setup = search_setup(spec, placement, "bfloat16")
    worth = initial_worth(setup.model.network, spec.search.samples)
    return here(setup, initial_state(setup, initial_variables(setup.model, 0), placement, worth), batch, placement)


def plain(network: Network, variables: Any, batch: Batch, placement: Placement) -> Contender:
    """The LIR network's step here."""
    setup = plain_setup(SegmentationNetwork(network, "bfloat16", division=placement.division))
    return here(setup, initial_state(setup, variables, placement), batch, placement)


def in_torch(network: Network, variables: Any, batch: Batch, device: str) -> Contender:
    """The same step there."""
    run = torch_run(network, variables, batch, channels_last=True, device=device, compiled=True)
    most = torch.cuda.max_memory_allocated if device == "cuda" else lambda: 0
    return Contender(run, counts.macs(network, batch["label"].shape[1:]), most)


def row(name: str, contender: Contender, seconds: list[float], pictures: int, peak: float) -> str:
    """One line of the table."""
    middle = statistics.median(seconds)
    used = 6 * contender.macs * pictures / middle / (peak * 1e12)
    cells = [f"{1e3 * min(seconds):.1f}", f"{1e3 * middle:.1f}", f"{len(seconds)}", f"{pictures / middle:.1f}"]
    return f"| {name} | {' | '.join(cells)} | {100 * used:.1f} % | {contender.bytes() / 1e9:.2f} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", default="configs/search.py", help="of the supernet")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 1024), help="multiples of 32")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all together, compilation not counted")
    parser.add_argument("--peak", type=float, default=PEAK, help="TFLOP/s of the device in bfloat16")
    arguments = parser.parse_args()
    device = jax.devices()[0]
    peer = f"PyTorch {torch.__version__}" if torch else INSTALL
    print(f"{device.device_kind}, JAX {jax.__version__}, {peer}")
    size = tuple(arguments.size)
    batch = random_batch(arguments.batch, size)
    placement = make_placement(MeshSpec(), [device])
    network = declare(SPEC)
    variables = initial_variables(SegmentationNetwork(network), 0)
    contenders = {
        "search, supernet": searched(arguments.config, arguments.batch, size, placement),
        "training, LIR": plain(network, variables, batch, placement),
    }
    if torch:
        torch_device = "cuda" if torch.cuda.is_available() else "cpu"
        contenders["training, LIR, PyTorch"] = in_torch(network, variables, batch, torch_device)
    for name, contender in contenders.items():
        print(f"{name:24} losses of the first steps {contender.run():.4f} {contender.run():.4f}", flush=True)
    times = measure({name: contender.run for name, contender in contenders.items()}, arguments.seconds)
    print("| step | min ms | median ms | steps | pictures/s | utilization | GB |\n|---|---|---|---|---|---|---|")
    for name, contender in contenders.items():
        print(row(name, contender, [wall for wall, _ in times[name]], arguments.batch, arguments.peak))


if __name__ == "__main__":
    main()
