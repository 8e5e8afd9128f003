"""Says what a workdir holds, and how it differs from another.

    rtseg_jax show WORKDIR [--against=OTHER_WORKDIR]

It reads files alone, of finished runs and of running ones. JAX is not imported, so no accelerator is taken from a run.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from rtseg_jax import provenance
from rtseg_jax.architecture import ArchSpec, declare
from rtseg_jax.command_line import Command
from rtseg_jax.errors import UserError
from rtseg_jax.export.metadata import read_metadata
from rtseg_jax.phase_names import phases_of
from rtseg_jax.training.checkpoint_files import KeptCheckpoint, file_size, folder_size, kept_checkpoints
from rtseg_jax.training.workdir import Workdir, differing_values, is_free, with_present_names
from rtseg_jax.visualization.history import Timeline, read_history, timeline
from rtseg_jax.visualization.results_table import results_table
from rtseg_jax.visualization.sparkline import sparkline
from rtseg_jax.visualization.wording import CHOICES, name_of, part_of, quantity, within_part

CURVE_WIDTH = 26  # characters of a curve, shared by the phases: the table fits 80
FOLDERS = ("report", "exported", "evaluation", "latency", "tensorboard", "compiled")

Json = Mapping[str, Any]


def read_run(root: str) -> tuple[Workdir, Json, Json]:
    """A workdir with its config and its results; raises `UserError` where there is none, or a damaged one."""
    workdir = Workdir(root)
    if not workdir.root.is_dir():
        raise UserError(f"{root}: no such folder; name the workdir of a run")
    config = _read_json(workdir.root / "config.json")
    if config is None:
        raise UserError(f"{root}: no run began in this folder, it has no config.json; name the workdir of a run")
    results = _read_json(workdir.root / "results.json") or {}
    return workdir, config, {**results, "phases": with_present_names(results.get("phases", {}))}


def _read_json(path: Path) -> Json | None:
    """The contents of a file; None where it is missing."""
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())}); nothing can be said of this run") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a file of a run; name the workdir of a run")
    return value


def show(console: Console, root: str, against: str | None = None) -> None:
    """Prints what a workdir holds, and how it differs from another; raises `UserError` where one is none."""
    workdir, config, results = read_run(root)
    other = None if against is None else read_run(against)
    try:
        parts = list(describe_run(workdir, config, results))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{root}: damaged, or of another version ({reason}); use the one that wrote it") from error
    if other is not None:
        parts += [*differences(config, other[1]), score_table(workdir, results, other[0], other[2])]
        parts += architecture_tables(workdir, other[0])
    for part in parts:
        console.print(part, highlight=False)


def describe_run(workdir: Workdir, config: Json, results: Json) -> Iterator[RenderableType]:
    """Everything that is known of a run, part by part."""
    yield headline(workdir, config)
    yield escape(f"made by: {provenance.in_words(results.get('provenance'))}{_surroundings(results)}")
    points = timeline(read_history(workdir.history))
    checkpoints = checkpoints_of(workdir)
    yield phase_table(config, results, points, checkpoints)
    if (evaluated := results.get("phases", {}).get("evaluate")) is not None:
        rows = evaluated["table"]
        measured = next((row["latency_unit"] for row in rows if "latency_unit" in row), "ms")
        yield results_table(rows, evaluated["target_cost"], evaluated.get("cost_unit", "ms"), measured)
        yield escape(evaluated.get("verdict", ""))
    if points.points:
        yield curve_table(points)
    if checkpoints:
        yield checkpoint_table(checkpoints)
    yield file_table(workdir)


def headline(workdir: Workdir, config: Json) -> str:
    """What was trained on what."""
    data = config.get("data", {})
    size = "×".join(str(side) for side in data.get("eval_size", ()))
    what = f"{config.get('model', 'network')} on {data.get('name', 'unknown data')} at {size or 'unknown size'}"
    return f"[bold]{escape(str(workdir.root))}[/bold]: {escape(what)}, seed {config.get('seed', '?')}"


def _surroundings(results: Json) -> str:
    """Python, JAX and devices, where they were recorded; files of before have versions by themselves."""
    origin = results.get("provenance", results)
    versions = [f"{name} {version}" for name, version in origin.get("versions", {}).items() if name != "rtseg_jax"]
    python = [f"Python {origin['python']}"] if "python" in origin else []
    return "".join(f"; {', '.join(part)}" for part in (python + versions, results.get("devices", [])) if part)


def phase_table(
    config: Json, results: Json, points: Timeline, checkpoints: Mapping[str, Sequence[KeptCheckpoint]]
) -> Table:
    """What is finished, how far the rest is, with scores and times."""
    table = _table("Phases", "phase", "state", "steps", "mIoU %", "minutes", "commit")
    finished = results.get("phases", {})
    own = phases_of(config.get("model", ""))
    for phase in config.get("phases") or own:
        found = finished.get(phase)
        if found is None:
            begun = reached(phase, points, checkpoints)
            table.add_row(phase, "not finished" if begun else "–", _text(begun or None, "{:,}"), "–", "–", "–")
            continue
        miou = found.get("miou", found.get("recalibrated_miou", found.get("sliced_miou")))
        seconds, steps = found.get("seconds"), found.get("steps") or reached(phase, points, checkpoints) or None
        table.add_row(
            phase,
            "done",
            _text(steps, "{:,}"),
            _text(None if miou is None else 100 * miou, "{:.1f}"),
            _text(None if seconds is None else seconds / 60, "{:.1f}"),
            _commit(found.get("provenance")),
        )
    return table


def reached(phase: str, points: Timeline, checkpoints: Mapping[str, Sequence[KeptCheckpoint]]) -> int:
    """The last step of a phase that was logged or saved; 0 where it has not begun."""
    start, end = points.spans.get(phase, (0, 0))
    return max([end - start, *(checkpoint.step for checkpoint in checkpoints.get(phase, ()))])


def curve_table(points: Timeline) -> Table:
    """A line per curve, phase after phase; a column is as wide as the phase is long."""
    widths = phase_widths(points.spans)
    table = _table("Curves: " + " │ ".join(widths), "", "", "first", "last", "lowest–highest")
    table.columns[1].justify = "left"
    table.columns[1].no_wrap = True
    unit = next((row["cost_unit"] for _, row in points.points if "cost_unit" in row), "ms")
    for name, keys, factor, digits in (
        ("loss", ("losses", "total"), 1.0, 3),
        ("mIoU %", ("miou",), 100.0, 1),
        (f"{quantity(unit)} {unit}", ("cost",), 1.0, 2),
        ("channels %", ("kept",), 1.0, 1),
        ("steps/s", ("steps_per_second",), 1.0, 2),
    ):
        positions, found = points.series(*keys)
        values = [_kept_share(value) if isinstance(value, dict) else factor * value for value in found]
        if values:
            line = " ".join(_curve(list(zip(positions, values, strict=True)), points.spans, widths))
            first, last, lowest, highest = (
                f"{figure:.{digits}f}" for figure in (values[0], values[-1], min(values), max(values))
            )
            table.add_row(name, line, first, last, f"{lowest}–{highest}")
    return table


def phase_widths(spans: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Characters of each phase, by its share of the steps."""
    total = max(1, sum(end - start for start, end in spans.values()))
    return {phase: max(1, round(CURVE_WIDTH * (end - start) / total)) for phase, (start, end) in spans.items()}


def _curve(
    points: Sequence[tuple[int, float]], spans: Mapping[str, tuple[int, int]], widths: Mapping[str, int]
) -> Iterator[str]:
    limits = min(value for _, value in points), max(value for _, value in points)
    for phase, span in spans.items():
        inside = [(x, value) for x, value in points if span[0] < x <= span[1]]
        yield sparkline(inside, span, widths[phase], limits)


def _kept_share(kept: Mapping[str, Sequence[int]]) -> float:
    """Percent of all channels that are kept."""
    return 100 * sum(number for number, _ in kept.values()) / max(1, sum(total for _, total in kept.values()))


def checkpoints_of(workdir: Workdir) -> dict[str, list[KeptCheckpoint]]:
    """The whole checkpoints of every folder that has some."""
    root = workdir.root / "checkpoints"
    folders = sorted(place for place in root.iterdir() if place.is_dir()) if root.exists() else []
    found = {folder.name: kept_checkpoints(folder) for folder in folders}
    return {name: kept for name, kept in found.items() if kept}


def checkpoint_table(checkpoints: Mapping[str, Sequence[KeptCheckpoint]]) -> Table:
    """Which steps are kept, how large they are, and who wrote the newest."""
    table = _table("Checkpoints", "folder", "steps kept", "MB", "commit")
    for name, kept in checkpoints.items():
        steps = ", ".join(f"{checkpoint.step:,}" for checkpoint in kept)
        size = sum(checkpoint.size for checkpoint in kept)
        table.add_row(name, steps, f"{size / 1e6:.1f}", _commit(kept[-1].provenance))
    table.add_section()
    everything = sum(checkpoint.size for kept in checkpoints.values() for checkpoint in kept)
    table.add_row("all", "", f"{everything / 1e6:.1f}", "")
    return table


def file_table(workdir: Workdir) -> Table:
    """Architectures, the exported network, and folders."""
    table = _table("Files", "name", "MB", "what", "commit")
    table.columns[2].justify = "left"
    for path in (workdir.architecture, workdir.searched, workdir.uniform, workdir.trained, workdir.model):
        if path.exists():
            size = f"{file_size(path) / 1e6:.2f}"
            try:
                about, origin = about_model(path) if path == workdir.model else about_architecture(path)
            except UserError:
                about, origin = "damaged, or of another version", None
            table.add_row(path.name, size, escape(about), _commit(origin))
    for name in FOLDERS:
        if (folder := workdir.root / name).is_dir():
            table.add_row(f"{name}/", f"{folder_size(folder) / 1e6:.2f}", "", "")
    return table


def about_architecture(path: Path) -> tuple[str, Any]:
    """What an architecture file holds, and where it comes from; raises `UserError` where it cannot be read."""
    arch = ArchSpec.load(path)
    return f"{arch.network.name}, digest {arch.digest}", json.loads(path.read_text(encoding="utf-8")).get("provenance")


def about_model(path: Path) -> tuple[str, Any]:
    """The same of an exported file."""
    metadata = read_metadata(path.read_bytes(), str(path))
    about = f"digest {metadata.architecture}, {metadata.export.head}, numbers: {metadata.export.quantize}"
    return about, metadata.provenance.get("exported")


def differences(config: Json, other: Json) -> Iterator[RenderableType]:
    """The fields in which two configs differ."""
    different = differing_values(config, other)
    if not different:
        yield "The configs are the same."
        return
    table = _table("Differences of the configs", "field", "here", "there", "")
    table.columns[1].justify = table.columns[2].justify = table.columns[3].justify = "left"
    for field, (here, there) in different.items():
        table.add_row(field, escape(repr(here)), escape(repr(there)), "free" if is_free(field) else "")
    yield table


def score_table(workdir: Workdir, results: Json, other: Workdir, other_results: Json) -> Table:
    """Scores and measured latencies of the networks of both runs, by name."""
    here, there = (
        {row["name"]: row for row in found.get("phases", {}).get("evaluate", {}).get("table", ())}
        for found in (results, other_results)
    )
    table = _table(
        f"Here: {workdir.root.name}, there: {other.root.name}", "network", "mIoU % here", "there", "ms here", "there"
    )
    for name in dict.fromkeys([*here, *there]):
        cells = [
            _text(None if (value := run.get(name, {}).get(key)) is None else factor * value, form)
            for key, factor, form in (("miou", 100.0, "{:.1f}"), ("latency_ms", 1.0, "{:.2f}"))
            for run in (here, there)
        ]
        table.add_row(name, *cells)
    return table


def architecture_tables(workdir: Workdir, other: Workdir) -> Iterator[Table]:
    """What the searches of both runs decided, part by part: the path of every mixed block, and channels kept."""
    if not (workdir.searched.exists() and other.searched.exists()):
        return
    archs = ArchSpec.load(workdir.searched), ArchSpec.load(other.searched)
    title = f"searched here: {workdir.root.name}, there: {other.root.name}"
    paths = _table(f"Paths {title}", "mixed block", "here", "there")
    for name in dict.fromkeys(name for arch in archs for name in arch.paths):
        chosen = (name_of(CHOICES, arch.paths[name]) if name in arch.paths else "–" for arch in archs)
        paths.add_row(f"{part_of(name)}, {within_part(name)}", *chosen)
    if paths.row_count:
        yield paths
    table = _table(f"Channels {title}", "part", "here", "of", "there", "of")
    here, there = map(channels_by_part, archs)
    for part in dict.fromkeys([*here, *there]):
        numbers = (*here.get(part, (None, None)), *there.get(part, (None, None)))
        table.add_row(part, *(_text(number, "{:,}") for number in numbers))
    yield table


def channels_by_part(arch: ArchSpec) -> dict[str, tuple[int, int]]:
    """Channels of all searched groups of each part of the network: kept, and of the supernet."""
    found: dict[str, tuple[int, int]] = {}
    for group in declare(arch.network).searched_groups:
        kept, total = found.get(part := part_of(group.name), (0, 0))
        found[part] = kept + group.unit * arch.widths.get(group.name, 0), total + group.unit * group.size
    return found


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _text(value: float | int | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _commit(origin: Any) -> str:
    commit = origin.get("commit") if isinstance(origin, dict) else None
    return "–" if commit is None else provenance.short(commit)


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags."""
    text = "FOLDER: another workdir, to see how config and scores differ."
    flags.DEFINE_string("against", None, text, flag_values=values)


def main(words: list[str], values: flags.FlagValues) -> None:
    """Command line; errors that a user can act on are one line."""
    if len(words) != 1:
        raise UserError("name one workdir: show WORKDIR [--against=OTHER_WORKDIR]")
    show(Console(), words[0], values.against)


COMMAND = Command(__doc__, define_flags, main, words="WORKDIR")


def run() -> None:
    """Entry point of the module."""
    COMMAND.start()


if __name__ == "__main__":
    run()
