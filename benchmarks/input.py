"""Pictures per second of the input pipeline, of the training step, and of both together.

    python -m benchmarks.input [--config configs/quickstart.py] [--data_dir DIR] [--files png] [--cache_gib 0]
        [--threads 2] [--workers 0 2] [--batch 8] [--seconds 5] [--repeats 3] [--json input.json]

Data, augmentation and network are those of the config, with blocks that compile sooner than mixed ones (`--block`).
`--files` writes its first pictures into files of a temporary folder and reads those instead, so that drawn pictures
tell what decoding costs. Every case is measured in every round, so that a slow minute hits all alike: medians over
rounds, with the smallest and the largest. `reached` is "both" over the slower of "pipeline" and "step" in the same
round: 1.00 means that the accelerator never waits for pictures it could have had. Where pipeline and step share the
processor's cores they slow each other down, and it cannot be reached.
"""

import argparse
import dataclasses
import importlib.metadata
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rtseg_jax.architecture import declare
from rtseg_jax.command_line import load_config
from rtseg_jax.config import RunSpec, run_spec
from rtseg_jax.data import Dataset, DataSpec, Example, Source, build_dataset, kept_in_memory, training_batches
from rtseg_jax.data.device_augmentation import augment_batch
from rtseg_jax.data.subset import Subset
from rtseg_jax.errors import UserError
from rtseg_jax.files import write_json
from rtseg_jax.latency.backend import processor_name
from rtseg_jax.models import SegmentationNetwork, initial_variables
from rtseg_jax.models.convolution import default_lowering
from rtseg_jax.training.loop import compile_step
from rtseg_jax.training.placement import make_placement
from rtseg_jax.training.specs import MeshSpec
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import StepSetup

WARM_UP_EPOCHS = 4  # after which each worker has nearly every picture in its own memory
MEASURED = ("pipeline", "step", "both")
PACKAGES = ("jax", "jaxlib", "grain", "numpy", "opencv-python-headless", "pillow")


class FileSource:
    """Pictures and labels in files of one folder, decoded when they are read."""

    def __init__(self, folder: Path, suffix: str, count: int):
        self._folder, self._suffix, self._count = folder, suffix, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        image = Image.open(self._folder / f"{index}.{self._suffix}").convert("RGB")
        return {"image": np.array(image), "label": np.array(Image.open(self._folder / f"{index}_label.png"))}


def write_files(source: Source, folder: Path, suffix: str) -> FileSource:
    """The pictures of a source as files; labels are always PNG."""
    for index in range(len(source)):
        example = source[index]
        Image.fromarray(example["image"]).save(folder / f"{index}.{suffix}", quality=90)
        Image.fromarray(example["label"]).save(folder / f"{index}_label.png")
    return FileSource(folder, suffix, len(source))


@dataclasses.dataclass
class Case:
    """One way to feed the step, and pictures per second of every round."""

    augment_on: str
    threads: int
    workers: int
    rates: dict[str, list[float]] = dataclasses.field(default_factory=lambda: {name: [] for name in MEASURED})

    def row(self) -> dict[str, Any]:
        """Plain values: median, smallest and largest of each."""
        reached = [both / min(rest) for *rest, both in zip(*(self.rates[name] for name in MEASURED), strict=True)]
        numbers = {
            name: {"median": statistics.median(values), "least": min(values), "most": max(values)}
            for name, values in {**self.rates, "reached": reached}.items()
        }
        return {"augment_on": self.augment_on, "threads": self.threads, "workers": self.workers, **numbers}


class Trainer:
    """The training step of a config with a fixed network; every call goes on from the state that the last one left."""

    def __init__(self, spec: RunSpec, augment_on: str):
        self.placement = make_placement(MeshSpec())
        self.placement.check_batch_size(spec.train.batch_size, "--batch")
        model = SegmentationNetwork(declare(spec.network), lowering=default_lowering())
        optimizer = optax.sgd(0.01, momentum=0.9)
        augment = (lambda batch: augment_batch(batch, spec.data.train_size)) if augment_on == "device" else None
        setup = StepSetup(model, optimizer, spec.loss, seed=0, augment=augment)
        variables = initial_variables(model, 0)
        params = variables["params"]
        state = TrainState(np.int32(0), params, variables["batch_stats"], optimizer.init(params))
        self._state = self.placement.put(state)
        self._step = compile_step(setup, self._state, self.placement)
        self._previous: Any = None

    def __call__(self, batch: Any) -> None:
        """One step, begun; the one before it has ended."""
        self._state, metrics = self._step(self._state, batch, None)
        if self._previous is not None:
            float(self._previous)  # as the loop does, which looks at each loss one step later
        self._previous = metrics["losses"]["total"]

    def wait(self) -> None:
        """Until the last step has ended."""
        jax.block_until_ready(self._state)


def rate(do: Callable[[], Any], wait: Callable[[], None], seconds: float, pictures: int) -> float:
    """Pictures per second of something that handles so many at a time."""
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds or count < 2:
        do()
        count += 1
    wait()
    return count * pictures / (time.perf_counter() - begun)


def measure(case: Case, spec: RunSpec, source: Source, trainer: Trainer, seconds: float) -> None:
    """One round of a case."""
    data = dataclasses.replace(spec.data, augment_on=case.augment_on)
    batch = spec.train.batch_size
    batches = training_batches(
        source, data, batch, seed=0, num_threads=case.threads, num_workers=case.workers, shard_count=1
    )
    for _ in range(-(-WARM_UP_EPOCHS * len(source) // batch)):
        kept = next(batches)
    case.rates["pipeline"].append(rate(lambda: next(batches), lambda: None, seconds, batch))
    fixed = trainer.placement.put_batch(kept)
    trainer(fixed)
    trainer.wait()
    case.rates["step"].append(rate(lambda: trainer(fixed), trainer.wait, seconds, batch))
    # What was read ahead while the step ran alone is used up first.
    for _ in range(2 * (case.threads + 2) * max(1, case.workers)):
        next(batches)
    ahead: Iterator[Any] = trainer.placement.batches(batches, sys.maxsize)
    case.rates["both"].append(rate(lambda: trainer(next(ahead)), trainer.wait, seconds, batch))
    ahead.close()  # type: ignore[attr-defined]


def load_spec(path: str, changes: argparse.Namespace) -> RunSpec:
    """The spec of a config file with the command line's changes."""
    config = load_config(path)
    config.batch_size = changes.batch or config.batch_size
    config.data.data_dir = changes.data_dir or config.data.data_dir
    config.data.stand_in = changes.stand_in or config.data.stand_in
    config.data.num_train = changes.pictures
    config.network.block = changes.block
    if changes.cache_gib is not None:
        config.data.cache_gib = changes.cache_gib
    return run_spec(config)


def table(rows: list[dict[str, Any]]) -> Table:
    """Median (smallest to largest) of every number."""
    result = Table(title="pictures per second")
    for name in ("augment_on", "threads", "workers", *MEASURED, "reached"):
        result.add_column(name, justify="right")
    for row in rows:
        rates = [f"{row[name]['median']:.1f} ({row[name]['least']:.1f}–{row[name]['most']:.1f})" for name in MEASURED]
        reached = f"{row['reached']['median']:.2f} ({row['reached']['least']:.2f}–{row['reached']['most']:.2f})"
        result.add_row(row["augment_on"], str(row["threads"]), str(row["workers"]), *rates, reached)
    return result


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All rounds of all cases."""
    spec = load_spec(arguments.config, arguments)
    dataset: Dataset = build_dataset(spec.data)
    first: Source = Subset(dataset.train, range(min(arguments.pictures, len(dataset.train))))
    with tempfile.TemporaryDirectory() as folder:
        if arguments.files:
            first = write_files(first, Path(folder), arguments.files)
        source = kept_in_memory(dataclasses.replace(dataset, train=first), spec.data).train
        cases = [
            Case(augment_on, arguments.threads, workers)
            for augment_on, workers in itertools.product(arguments.augment_on, arguments.workers)
        ]
        trainers = {augment_on: Trainer(spec, augment_on) for augment_on in arguments.augment_on}
        console = Console(file=sys.stderr)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("measuring", total=arguments.repeats * len(cases))
            for _, case in itertools.product(range(arguments.repeats), cases):
                measure(case, spec, source, trainers[case.augment_on], arguments.seconds)
                progress.advance(task)
    return {"machine": machine(), "setting": setting(spec.data, spec, arguments), "rows": [c.row() for c in cases]}


def setting(data: DataSpec, spec: RunSpec, arguments: argparse.Namespace) -> dict[str, Any]:
    """What was read and trained."""
    return {
        "config": arguments.config,
        "data": data.name,
        "files": arguments.files or "none",
        "base_size": data.base_size,
        "train_size": data.train_size,
        "cache_gib": data.cache_gib,
        "batch": spec.train.batch_size,
        "network": f"{spec.network.block}, width {spec.network.width}",
        "seconds": arguments.seconds,
        "repeats": arguments.repeats,
    }


def main() -> None:
    """Prints the table; errors are one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--data_dir", default="", help="folder of the config's data set")
    parser.add_argument("--stand_in", action="store_true", help="drawn pictures in place of the config's data set")
    parser.add_argument("--files", choices=("png", "jpg"), help="write pictures to files and read those")
    parser.add_argument("--pictures", type=int, default=32, help="so many different ones")
    parser.add_argument("--cache_gib", type=float, help="pictures kept in memory; 0: decode each time")
    parser.add_argument("--batch", type=int, default=0, help="pictures per step; 0: the config's")
    parser.add_argument("--block", choices=("lir", "mixed", "gather_expansion"), default="lir", help="of the network")
    parser.add_argument("--threads", type=int, default=2, help="shared out among the workers")
    parser.add_argument("--workers", type=int, nargs="+", default=(0, 2), help="reading processes; 0: threads only")
    parser.add_argument("--augment_on", choices=("host", "device"), nargs="+", default=("host", "device"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write everything to this file as well")
    arguments = parser.parse_args()
    try:
        results = run(arguments)
    except UserError as error:
        sys.exit(f"error: {error}")
    for name, value in {**results["machine"], **results["setting"]}.items():
        print(f"{name}: {value}")
    Console(width=140).print(table(results["rows"]))
    if arguments.json:
        write_json(arguments.json, results)


if __name__ == "__main__":
    main()
