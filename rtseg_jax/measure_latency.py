"""Measures a device and fits its latency predictor.

    python -m rtseg_jax.measure_latency --out_dir=latency/host --width=1.0 --image_size=512,1024

Measurements go to `measurements.jsonl`, the predictor to `predictor.json`. A sweep that was stopped goes on where it
was; one that is finished is only fitted again.
"""

import json
import sys
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.progress import Progress

from rtseg_jax.architecture import ArchSpec, NetworkSpec
from rtseg_jax.errors import UserError
from rtseg_jax.latency import sweep
from rtseg_jax.latency.backends import BACKENDS, SWEEP_BACKENDS
from rtseg_jax.latency.child import PROGRESS
from rtseg_jax.latency.spec import LatencySpec

DEFAULT = LatencySpec()

OUT_DIR = flags.DEFINE_string("out_dir", None, "folder of measurements and predictor", required=True)
REQUEST = flags.DEFINE_string(
    "request", None, "JSON file with `network` or `archs`, and `latency`; replaces other flags"
)
NUM_CLASSES = flags.DEFINE_integer("num_classes", 19, "classes of the network")
WIDTH = flags.DEFINE_float("width", 1.0, "width of the supernet")
BLOCK = flags.DEFINE_string("block", "mixed", "mixed, lir or gather_expansion")
DEVICE = flags.DEFINE_string("device", DEFAULT.device, f"one of {', '.join(BACKENDS | SWEEP_BACKENDS)}")
THREADS = flags.DEFINE_integer("threads", DEFAULT.threads, "threads of the runtime")
IMAGE_SIZE = flags.DEFINE_list("image_size", [str(n) for n in DEFAULT.image_size], "height,width")
NUM_BLOCKS = flags.DEFINE_integer("num_blocks", DEFAULT.num_blocks, "blocks to measure")
NUM_NETWORKS = flags.DEFINE_integer("num_networks", DEFAULT.num_networks, "whole networks to measure")
RUNS = flags.DEFINE_integer("runs", DEFAULT.runs, "runs of each model")
SEED = flags.DEFINE_integer("seed", DEFAULT.seed, "seed of the sampled widths and paths")


def main(argv: list[str]) -> None:
    """Runs a sweep, or measures the networks of a request."""
    del argv
    try:
        _main(Path(OUT_DIR.value), _request())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run() -> None:
    """Entry point."""
    app.run(main)


def _main(out_dir: Path, request: dict[str, Any]) -> None:
    spec = LatencySpec(**_tuples(request["latency"]))
    with _reporter() as report:
        if "archs" in request:
            archs = [ArchSpec.from_json(arch) for arch in request["archs"]]
            sweep.save_timings(sweep.measure_networks(archs, spec, report), out_dir / "timings.json")
            return
        model = sweep.sweep(NetworkSpec(**_tuples(request["network"])), spec, out_dir, report)
    print(sweep.summary(model))


def _request() -> dict[str, Any]:
    if REQUEST.value is not None:
        return json.loads(Path(REQUEST.value).read_text())
    try:
        image_size = tuple(int(n) for n in IMAGE_SIZE.value)
    except ValueError as error:
        raise UserError(f"--image_size is {','.join(IMAGE_SIZE.value)}: it must be height,width") from error
    latency = {"device": DEVICE.value, "threads": THREADS.value, "image_size": image_size, "runs": RUNS.value}
    latency |= {"num_blocks": NUM_BLOCKS.value, "num_networks": NUM_NETWORKS.value, "seed": SEED.value}
    return {
        "network": {"num_classes": NUM_CLASSES.value, "width": WIDTH.value, "block": BLOCK.value},
        "latency": latency,
    }


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


class _reporter:
    """Shows progress: a bar for people, lines for the process that started this one."""

    def __enter__(self) -> sweep.Report:
        self._bar = Progress() if REQUEST.value is None else None
        if self._bar is None:
            return lambda done, total, text: print(PROGRESS, done, total, text, flush=True)
        bar = self._bar.__enter__()
        task = bar.add_task("measuring", total=None)
        return lambda done, total, text: bar.update(task, completed=done, total=total, description=text)

    def __exit__(self, *details: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*details)


if __name__ == "__main__":
    run()
