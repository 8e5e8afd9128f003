"""What blocks and networks take in the numbers of a file, in turns: the MLP's activations of attention, and all else.

python -m benchmarks.precisions [--size 512 1024] [--width 1.0] [--blocks stage8_1_mhsa stage16_1_mhsa]
"""

import argparse
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from rtseg_jax.architecture import declare
from rtseg_jax.export.spec import PRECISIONS
from rtseg_jax.latency.backend import Timing
from rtseg_jax.latency.devices import make_backend
from rtseg_jax.latency.subjects import block_subject
from rtseg_jax.latency.turns import in_turns
from rtseg_jax.search.decide import full_widths
from rtseg_jax.zoo import RTSeg
from rtseg_jax.zoo.rtseg import MLP_ACTIVATIONS

DEVICE = "host_cpu"
RUNS = 5  # of each round


def main() -> None:
    """Prints a table in Markdown for each block."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 1024))
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--blocks", nargs="+", default=["stage8_1_mhsa", "stage16_1_mhsa"])
    args = parser.parse_args()
    size = (args.size[0], args.size[1])
    for name in args.blocks:
        print(f"\n{name}, {size[0]}×{size[1]}, width {args.width:g}, milliseconds (of {PRECISIONS[0]} with gelu)\n")
        print(table(measured(name, args.width, size)), flush=True)


def measured(block: str, width: float, size: tuple[int, int]) -> dict[tuple[str, str], Timing]:
    """Timing of a block at its full widths by activation and precision."""
    models = {}
    for activation in MLP_ACTIVATIONS:
        spec = RTSeg(19, width=width, mlp_activation=activation)
        subject = block_subject(spec, block, full_widths(declare(spec)), size)
        for precision in PRECISIONS:
            models[activation, precision] = make_backend(DEVICE, 1, RUNS, precision=precision).build(subject)
    return dict(zip(models, in_turns(make_backend(DEVICE, 1, RUNS), [*models.values()]), strict=True))


def table(timings: dict[tuple[str, str], Timing]) -> str:
    """A row per activation, a column per precision, each beside the first of all."""
    first = timings[MLP_ACTIVATIONS[0], PRECISIONS[0]].ms
    lines = ["| activation | " + " | ".join(PRECISIONS) + " |", "|---|" + "---|" * len(PRECISIONS)]
    for activation in MLP_ACTIVATIONS:
        cells = (timings[activation, precision].ms for precision in PRECISIONS)
        lines.append(f"| {activation} | " + " | ".join(f"{ms:.2f} ({ms / first:.2f})" for ms in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
