"""What a user sees while a phase runs: a bar, one JSON line per logged step, TensorBoard."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rtseg_jax.errors import UserError
from rtseg_jax.files import on_disk
from rtseg_jax.quiet import import_tensorflow
from rtseg_jax.search.cost import Target
from rtseg_jax.training.processes import is_first
from rtseg_jax.training.workdir import Workdir
from rtseg_jax.visualization.wording import quantity

MEASURED = ("steps_per_second", "pictures_per_second", "input_wait", "device_peak_gib")
"""Fields of a history row that are measured, and differ between two runs of one config; the last where it is known."""

NOTICED_WAIT = 0.05  # share of time waiting for pictures from which on the status line says so


class Reporter:
    """Follows one phase from `start` to `steps`."""

    def __init__(
        self,
        workdir: Workdir,
        phase: str,
        start: int,
        steps: int,
        *,
        batch_size: int,
        target: Target | None,
        group_sizes: Mapping[str, int],
        tensorboard: bool,
    ):
        self._phase, self._steps, self._target, self._group_sizes = phase, steps, target, group_sizes
        self._batch_size = batch_size
        self._miou: float | None = None
        self._workdir = workdir
        self._speaks = is_first()  # the others count along, and neither write nor print
        self._writer = tensorboard_writer(workdir) if tensorboard and self._speaks else None
        self._console = Console(quiet=not self._speaks)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(phase, total=steps, completed=start, status="compiling")
        self._bar.start()
        self._last = (start, time.monotonic())
        self._waited = 0.0

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches; how long each one was waited for is added up."""
        while True:
            began = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - began
            if batch is None:
                return
            yield batch

    def advance(self) -> None:
        """One more step is done."""
        self._bar.advance(self._task)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Shows and records the metrics of step number `step`."""
        row = {
            "phase": self._phase,
            "step": step,
            **self._measured(step),
            **history_row(metrics, self._group_sizes),
            **({} if self._target is None else {"cost_unit": self._target.unit}),
        }
        self._record(row)
        self._say(row)
        self._scalars(step, row["losses"] | {name: row[name] for name in MEASURED if name in row})
        if "cost" in row:
            self._scalars(step, {"cost": row["cost"], "kept": kept_and_all(row)[0]})

    def score(self, step: int, miou: float) -> None:
        """Shows and records a validation score."""
        self._miou = miou
        self._record({"phase": self._phase, "step": step, "miou": miou})
        self._scalars(step, {"miou": miou})

    def close(self) -> None:
        """Ends the bar and writes out what is buffered."""
        self._bar.stop()
        if self._writer is not None:
            self._writer.close()

    def _record(self, row: Mapping[str, Any]) -> None:
        if self._speaks:
            self._workdir.append_history(row)

    def _measured(self, step: int) -> dict[str, float]:
        """Since the last row: speed, and the share of time that was spent waiting for batches."""
        (before, since), now = self._last, time.monotonic()
        seconds = max(1e-9, now - since)
        speed, waited = (step - before) / seconds, self._waited
        self._last, self._waited = (step, now), 0.0
        values = {
            "steps_per_second": speed,
            "pictures_per_second": speed * self._batch_size,
            "input_wait": min(1.0, waited / seconds),
        }
        peak = device_peak_gib()
        return values if peak is None else {**values, "device_peak_gib": peak}

    def _say(self, row: Mapping[str, Any]) -> None:
        status = status_line(row, self._miou, self._target)
        self._bar.update(self._task, status=status)
        if not self._console.is_terminal:
            self._console.print(f"{self._phase} {row['step']}/{self._steps} {status}", highlight=False, soft_wrap=True)

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            self._writer.write_scalars(step, {f"{self._phase}/{name}": value for name, value in values.items()})


def device_peak_gib() -> float | None:
    """The most memory that any device of this process has had in use so far, GiB; None where devices do not tell."""
    told = [device.memory_stats() for device in jax.local_devices()]
    peaks = [stats["peak_bytes_in_use"] for stats in told if stats and "peak_bytes_in_use" in stats]
    return max(peaks) / 2**30 if peaks else None


def history_row(metrics: Mapping[str, Any], group_sizes: Mapping[str, int]) -> dict[str, Any]:
    """Metrics of a step as plain JSON values; kept channels as [kept, of how many]."""
    values = jax.tree.map(lambda x: np.asarray(x).tolist(), dict(metrics))
    if "kept" in values:
        values["kept"] = {name: [int(kept), group_sizes[name]] for name, kept in values["kept"].items()}
    return values


def kept_and_all(row: Mapping[str, Any]) -> tuple[int, int]:
    """Kept indicators, and all of them."""
    kept, sizes = zip(*row["kept"].values(), strict=True)
    return sum(kept), sum(sizes)


def status_line(row: Mapping[str, Any], miou: float | None, target: Target | None = None) -> str:
    """Speed, losses by term, score, cost against the target, kept channels."""
    parts = [f"{row['steps_per_second']:.2f} steps/s"]
    if row.get("input_wait", 0.0) >= NOTICED_WAIT:
        parts.append(f"{100 * row['input_wait']:.0f} % waiting for pictures")
    parts += [f"{name} {value:.3f}" for name, value in row["losses"].items()]
    if miou is not None:
        parts.append(f"mIoU {100 * miou:.1f} %")
    if target is not None:
        kept, size = kept_and_all(row)
        cost = f"{quantity(target.unit)} {row['cost']:.2f}/{target.cost:.2f} {target.unit}"
        parts.append(f"{cost}, {kept}/{size} channels kept")
    return " · ".join(parts)


def tensorboard_writer(workdir: Workdir) -> Any:
    """clu's metric writer, or None with one line that says so: it needs TensorFlow, training does not.

    TensorFlow cannot write to a bucket by itself; there the history has the same numbers.
    """
    if not on_disk(workdir.root):
        logging.warning("%s is no disk: TensorBoard is off, metrics go to %s", workdir.root, workdir.history)
        return None
    try:
        import_tensorflow()
        from clu import metric_writers
    except (ImportError, UserError):
        logging.warning("TensorFlow is not installed: TensorBoard is off, metrics go to %s", workdir.history)
        return None
    return metric_writers.SummaryWriter(str(workdir.root / "tensorboard"))
