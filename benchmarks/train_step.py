"""A training step of the width 1.0 LIR network: each lowering against the same network in PyTorch, on CPU.

    python -m benchmarks.train_step [--seconds 60] [--batch 4] [--size 128 256] [--threads 2]

Forward, cross-entropy of main and auxiliary heads at full size, backward, SGD with momentum and weight decay; float32.
PyTorch runs the same declaration from the same weights (on mirrored pictures, see `torch_network`), and both losses
are printed: they differ by rounding, and by dropout unless `--dropout 0` switches it off. The steps take turns in one
run, so that the ratios survive a busy machine.
"""

import argparse
import dataclasses
import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import optax

from rtseg_jax.architecture import Network, NetworkSpec, declare
from rtseg_jax.models import SegmentationNetwork, initial_variables
from rtseg_jax.models.normalization import IMAGE_MEAN, IMAGE_STD
from rtseg_jax.training.losses import LossSpec
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import StepSetup, make_step
from rtseg_jax.zoo import RTSeg

try:
    import torch
    from torch.nn import functional

    from benchmarks.torch_network import TorchNetwork, mirrored
except ImportError:
    torch = None  # type: ignore[assignment]

INSTALL = "no PyTorch: pip install -r benchmarks/requirements.txt -c constraints.txt"
SPEC = RTSeg(19, block="lir", width=1.0, segment_blocks=(1, 1, 3))
RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4

Run = Callable[[], float]


def plain_setup(model: SegmentationNetwork) -> StepSetup:
    """A step of `rtseg_jax.training` that does what PyTorch's does."""
    optimizer = optax.chain(optax.add_decayed_weights(WEIGHT_DECAY), optax.sgd(RATE, momentum=MOMENTUM))
    return StepSetup(model, optimizer, LossSpec(), seed=0)


def jax_run(network: Network, variables: Any, batch: dict[str, np.ndarray], lowering: str) -> Run:
    """That step, compiled; every call goes on from the state that the last one left."""
    setup = plain_setup(SegmentationNetwork(network, lowering=lowering))
    params = jax.tree.map(jax.numpy.array, variables["params"])
    stats = jax.tree.map(jax.numpy.array, variables["batch_stats"])
    state = TrainState(jax.numpy.zeros((), jax.numpy.int32), params, stats, setup.optimizer.init(params))
    step = jax.jit(make_step(setup), donate_argnums=0)
    compiled = step.lower(state, batch, None).compile()
    holder = [state]

    def run() -> float:
        holder[0], metrics = compiled(holder[0], batch, None)
        return float(metrics["losses"]["total"])

    return run


def torch_run(
    network: Network,
    variables: Any,
    batch: dict[str, np.ndarray],
    *,
    channels_last: bool,
    device: str = "cpu",
    compiled: bool = False,
) -> Run:
    """The same step in PyTorch, eager in float32 or compiled with autocast to bfloat16.

    Every call goes on from the weights that the last one left.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    normalization = (IMAGE_MEAN, IMAGE_STD)
    model = TorchNetwork(network, variables, normalization, auxiliary=True).to(device, memory_format=layout).train()
    count = sum(weight.numel() for weight in model.parameters())
    assert count == sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), "not the same network"
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    images = mirrored(batch["image"]).to(device).contiguous(memory_format=layout)
    labels = mirrored(batch["label"].astype(np.int64)).to(device)
    forward = torch.compile(model) if compiled else model

    def run() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=compiled):
            outputs = forward(images.float())
        loss = sum(functional.cross_entropy(logits.float(), labels, ignore_index=255) for logits in outputs)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def measure(runs: dict[str, Run], seconds: float) -> dict[str, list[tuple[float, float]]]:
    """(wall, processor) seconds of every step, taking turns; the first steps warm up."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not all(times.values()):
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return times


def random_batch(batch: int, size: tuple[int, int], num_classes: int = SPEC.num_classes) -> dict[str, np.ndarray]:
    """Noise, with a few void pixels."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, num_classes + 1, (batch, *size)).astype(np.uint8)
    label[label == num_classes] = 255
    return {"image": rng.integers(0, 256, (batch, *size, 3)).astype(np.uint8), "label": label}


def build(spec: NetworkSpec, batch: dict[str, np.ndarray], threads: int) -> dict[str, Run]:
    """Every contender, warmed up; prints the losses of its first two steps."""
    network = declare(spec)
    variables = initial_variables(SegmentationNetwork(network), 0)
    factories: dict[str, Callable[[], Run]] = {
        f"jax {lowering}": functools.partial(jax_run, network, variables, batch, lowering)
        for lowering in ("cpu", "native")
    }
    if torch is None:
        print(INSTALL)
    else:
        torch.set_num_threads(threads)
        factories["torch"] = functools.partial(torch_run, network, variables, batch, channels_last=False)
        factories["torch channels_last"] = functools.partial(torch_run, network, variables, batch, channels_last=True)
    runs = {}
    for name, factory in factories.items():
        runs[name] = factory()
        print(f"{name:20} losses of the first steps {runs[name]():.4f} {runs[name]():.4f}", flush=True)
    return runs


def report(times: dict[str, list[tuple[float, float]]]) -> str:
    """The table; ratios are to the fastest PyTorch where there is one, to the fastest otherwise."""
    least = {name: min(wall for wall, _ in values) for name, values in times.items()}
    peers = [value for name, value in least.items() if name.startswith("torch")]
    best = min(peers or least.values())
    lines = [f"{'':20}{'min ms':>9}{'median':>9}{'cpu min':>9}{'steps':>7}{'ratio':>7}"]
    for name, values in times.items():
        wall, processor = zip(*values, strict=True)
        cells = [least[name], statistics.median(wall), min(processor)]
        line = f"{name:20}" + "".join(f"{1e3 * value:9.1f}" for value in cells)
        lines.append(f"{line}{len(values):7}{least[name] / best:6.2f}×")
    return "\n".join(lines)


def main() -> None:
    """Prints losses and times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), help="multiples of 32")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all together, compilation not counted")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of PyTorch")
    parser.add_argument("--dropout", type=float, default=SPEC.dropout, help="rate in the head")
    arguments = parser.parse_args()
    if any(length % 32 for length in arguments.size):
        parser.error("--size must be two multiples of 32")
    spec = dataclasses.replace(SPEC, dropout=arguments.dropout)
    runs = build(spec, random_batch(arguments.batch, tuple(arguments.size)), arguments.threads)
    print(report(measure(runs, arguments.seconds)))


if __name__ == "__main__":
    main()
