"""GFLOP/s of each convolution by lowering, forward and with both gradients.

    python -m benchmarks.convolution [--batch 4] [--seconds 1]

The lowerings take turns in one run and the fastest of each counts, so that the ratio survives a busy machine.
"""

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable

import jax

from rtseg_jax.models.convolution import conv2d, depthwise_conv2d


@dataclasses.dataclass(frozen=True)
class Case:
    """One layer: input size and channels, kernel, output channels."""

    name: str
    size: tuple[int, int]
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    depthwise: bool = False

    def flops(self, batch: int) -> float:
        """Floating point operations forward, two per multiply-add."""
        pixels = self.size[0] * self.size[1] / self.stride**2
        return 2 * batch * pixels * self.kernel**2 * (1 if self.depthwise else self.inputs) * self.outputs

    def function(self, lowering: str) -> Callable:
        """The layer as a function of input and kernel."""
        operator = depthwise_conv2d if self.depthwise else conv2d
        return functools.partial(operator, stride=self.stride, lowering=lowering)


CASES = [
    Case("depthwise", (64, 128), 64, 64, depthwise=True),
    Case("depthwise", (16, 32), 192, 192, depthwise=True),
    Case("depthwise", (4, 8), 768, 768, depthwise=True),
    Case("depthwise ×6", (32, 64), 16, 96, stride=2, depthwise=True),
    Case("depthwise", (32, 64), 96, 96, stride=2, depthwise=True),
    Case("1×1", (32, 64), 96, 32, kernel=1),
    Case("1×1", (16, 32), 128, 128, kernel=1),
    Case("patches 2×2", (32, 64), 64, 128, kernel=2, stride=2),
    Case("3×3", (64, 128), 64, 64),
    Case("3×3", (16, 32), 128, 128),
]


def with_gradients(function: Callable) -> Callable:
    """The layer's output and both gradients for a given gradient of the output."""

    def run(x, kernel, dy):
        y, pullback = jax.vjp(function, x, kernel)
        return y, pullback(dy)

    return run


def fastest(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Least time of each run, taking turns for `seconds`."""
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        jax.block_until_ready(run())
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure(case: Case, batch: int, seconds: float) -> str:
    """One line of the table."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (batch, *case.size, case.inputs))
    fan_in = 1 if case.depthwise else case.inputs
    kernel = jax.random.normal(keys[1], (case.kernel, case.kernel, fan_in, case.outputs))
    dy = jax.random.normal(keys[2], jax.eval_shape(case.function("native"), x, kernel).shape)
    runs = {}
    for lowering in ("native", "cpu"):
        function = case.function(lowering)
        runs[f"{lowering} forward"] = functools.partial(jax.jit(function), x, kernel)
        runs[f"{lowering} all"] = functools.partial(jax.jit(with_gradients(function)), x, kernel, dy)
    best = fastest(runs, seconds)
    giga = case.flops(batch) / 1e9
    rates = [giga / best["native forward"], giga / best["cpu forward"]]
    rates += [3 * giga / best["native all"], 3 * giga / best["cpu all"]]
    label = f"{case.name} {case.inputs}→{case.outputs} /{case.stride} {case.size[0]}×{case.size[1]}"
    cells = [f"{rates[0]:9.1f}{rates[1]:9.1f}{rates[1] / rates[0]:7.1f}×"]
    cells.append(f"{rates[2]:9.1f}{rates[3]:9.1f}{rates[3] / rates[2]:7.1f}×")
    return f"{label:34}" + "  ".join(cells)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.0, help="per case")
    arguments = parser.parse_args()
    header = f"{'native':>9}{'cpu':>9}{'ratio':>8}"
    print(f"{'GFLOP/s':34}{header}  {header}   (forward; forward and both gradients)")
    for case in CASES:
        print(measure(case, arguments.batch, arguments.seconds), flush=True)


if __name__ == "__main__":
    main()
