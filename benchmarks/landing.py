r"""Does the search land? Decided networks against their latency targets, predicted and measured.

    python -m benchmarks.landing --out=LANDING [--config=configs/quickstart.py] [--targets=5] [--seeds=3] \
        [--forms ...] [--precision=int8]

The supernet is pretrained once by each rule, then every target and seed has its own search with the task loss on, then
all decided networks are measured in turns. Targets lie between the fastest and the slowest single-path network, each by
the same factor above the one before. What was finished in the folder before is not run again. The table says how far
the soft latency Σ p·S of the last steps was from the target, and how many channels the decision added or removed after
it; it is in `landing.json` and `landing.md`. The exit status is 1 if a decided network is not predicted in [0.98, 1.00]
of its target or not measured within ±5 % of it, or if a seed's latencies do not rise with the target.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import ml_collections
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rtseg_jax.architecture import ArchSpec, declare
from rtseg_jax.command_line import load_config
from rtseg_jax.config import run_spec
from rtseg_jax.errors import UserError
from rtseg_jax.export.spec import PRECISIONS
from rtseg_jax.files import write_json, write_text
from rtseg_jax.latency import LatencyModel, measure_networks_in_child, network_latency, run_sweep_in_child
from rtseg_jax.search.decide import LANDING, CostOf, reachable_range
from rtseg_jax.training.train_and_evaluate import train_and_evaluate
from rtseg_jax.training.workdir import Workdir

FORMS = {  # by name: search.rule, search.literal; see docs/search.md
    "worth": ("worth", False),
    "published": ("published", False),
    "literal": ("published", True),
}
MEASURED = (0.95, 1.05)  # of the target
LAST = 0.05  # share of the search over which the soft latency is averaged


@dataclasses.dataclass(frozen=True)
class Search:
    """One search of the benchmark."""

    form: str
    target_ms: float
    seed: int
    workdir: Workdir


@dataclasses.dataclass(frozen=True)
class Row:
    """What became of a search; latencies are shares of the target.

    Attributes:
      form: of the search, one of `FORMS`.
      target_ms: what the search aimed at.
      seed: of everything but the supernet.
      soft: Σ p·S, mean of the last steps.
      soft_last: the same at the very last step.
      predicted: of the decided network.
      measured: of the decided network.
      paths: taken, by mixed block.
      moved: mixed blocks whose path is not the most probable one.
      searched_channels: channels that take part in the last step, of groups that the decision keeps.
      decided_channels: kept by the decision.
      changed_channels: added or removed by the decision, Σ |decided − searched| over groups.
      all_channels: of these groups.
      miou: of the decided network, recalibrated where it was.
    """

    form: str
    target_ms: float
    seed: int
    soft: float
    soft_last: float
    predicted: float
    measured: float
    paths: dict[str, str]
    moved: int
    searched_channels: int
    decided_channels: int
    changed_channels: int
    all_channels: int
    miou: float


def prepared_config(arguments: argparse.Namespace) -> ml_collections.ConfigDict:
    """The config of all searches, with a predictor, measured where none is named."""
    config = load_config(arguments.config)
    config.train.log_every, config.train.eval_every, config.train.tensorboard = 1, 0, False
    config.latency.precision = arguments.precision or config.latency.precision
    for name in ("search_steps", "pretrain_steps"):
        if getattr(arguments, name):
            config.train[name] = getattr(arguments, name)
    folder = arguments.predictor or arguments.out / "latency"
    if not arguments.predictor and not (folder / "predictor.json").exists():
        spec = run_spec(config)
        run_sweep_in_child(spec.network, spec.latency, folder)
    config.latency.predictor = str(folder)
    return config


def with_supernet(config: ml_collections.ConfigDict, out: Path, form: str) -> ml_collections.ConfigDict:
    """The config of searches of one form: each rule has its own way to train a supernet, which happens once."""
    config = config.copy_and_resolve_references()
    config.search.rule, config.search.literal = FORMS[form]
    config.phases = ("pretrain",)
    supernet = out / f"supernet_{config.search.rule}"
    pretraining = config.copy_and_resolve_references()
    pretraining.search.literal = False  # of the search alone
    quietly(pretraining, supernet)
    config.init_from, config.phases = str(supernet), ("search",)
    return config


def quietly(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Runs the config's phases; what they print goes to `log.txt` in the workdir."""
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "log.txt").open("a") as log, contextlib.redirect_stdout(log):
        train_and_evaluate(config, workdir)
    jax.clear_caches()  # targets and seeds are constants of the step: the next search compiles its own


def planned(arguments: argparse.Namespace, config: ml_collections.ConfigDict) -> list[Search]:
    """Every search, the easiest first."""
    spec = run_spec(config)
    network, model = declare(spec.network), LatencyModel.load(Path(config.latency.predictor))
    low, high = reachable_range(network, CostOf(network, network_latency(network, spec.data.eval_size, model)))
    targets = np.geomspace(low, high, arguments.targets + 2)[1:-1]
    return [
        Search(form, float(target), seed, Workdir(arguments.out / f"{form}_{number}_{seed}"))
        for seed in range(arguments.seeds)
        for number, target in enumerate(targets)
        for form in arguments.forms
    ]


def run(search: Search, config: ml_collections.ConfigDict) -> None:
    """Runs one search; what is finished is skipped, and refused where the config was another one."""
    config = config.copy_and_resolve_references()
    config.seed, config.latency.target_ms = search.seed, search.target_ms
    quietly(config, search.workdir.root)


def evaluated(searches: list[Search], config: ml_collections.ConfigDict) -> list[Row]:
    """A row per search; all networks are measured in turns."""
    spec = run_spec(config).latency
    archs = [ArchSpec.load(search.workdir.searched) for search in searches]
    timings = measure_networks_in_child(archs, spec.image_size, spec)
    return [row_of(search, arch, timing.ms) for search, arch, timing in zip(searches, archs, timings, strict=True)]


def row_of(search: Search, arch: ArchSpec, measured_ms: float) -> Row:
    """What the workdir of a finished search says."""
    results = search.workdir.results()["phases"]["search"]
    history = [json.loads(line) for line in search.workdir.history.read_text().splitlines()]
    steps = [row for row in history if row["phase"] == "search" and "cost" in row]
    last = steps[-max(1, round(LAST * len(steps))) :]
    kept = {name: numbers for name, numbers in steps[-1]["kept"].items() if name in arch.widths}
    choices = declare(arch.network).choices
    probable = {name: int(np.argmax(values)) for name, values in steps[-1]["paths"].items()}
    return Row(
        form=search.form,
        target_ms=search.target_ms,
        seed=search.seed,
        soft=float(np.mean([row["cost"] for row in last])) / search.target_ms,
        soft_last=steps[-1]["cost"] / search.target_ms,
        predicted=results["predicted_cost"] / search.target_ms,
        measured=measured_ms / search.target_ms,
        paths=dict(arch.paths),
        moved=sum(choices[name].choices[index] != arch.paths[name] for name, index in probable.items()),
        searched_channels=sum(now for now, _ in kept.values()),
        decided_channels=sum(arch.widths.values()),
        changed_channels=sum(abs(now - arch.widths[name]) for name, (now, _) in kept.items()),
        all_channels=sum(size for _, size in kept.values()),
        miou=results.get("recalibrated_miou", results["sliced_miou"]),
    )


def rises(values: list[float]) -> bool:
    """Whether every value is above the one before."""
    return all(before < after for before, after in itertools.pairwise(values))


def verdict(rows: list[Row]) -> dict[str, Any]:
    """How many rows of one form landed, and whether latencies rise with the target."""
    by_seed = [[row for row in rows if row.seed == seed] for seed in sorted({row.seed for row in rows})]
    return {
        "searches": len(rows),
        "predicted_in_landing": sum(LANDING[0] <= row.predicted <= LANDING[1] for row in rows),
        "measured_within_5_percent": sum(MEASURED[0] <= row.measured <= MEASURED[1] for row in rows),
        "predicted_rises": all(rises([row.predicted * row.target_ms for row in some]) for some in by_seed),
        "measured_rises": all(rises([row.measured * row.target_ms for row in some]) for some in by_seed),
        "soft_within_5_percent": sum(abs(row.soft - 1) <= 0.05 for row in rows),
        "largest_soft_gap": max(abs(row.soft - 1) for row in rows),
        "changed_channels": sum(row.changed_channels for row in rows) / sum(row.all_channels for row in rows),
    }


def passed(found: dict[str, Any]) -> bool:
    """Whether a verdict is what was asked for."""
    counts = (found["predicted_in_landing"], found["measured_within_5_percent"])
    return set(counts) == {found["searches"]} and found["predicted_rises"] and found["measured_rises"]


def markdown(rows: list[Row], verdicts: dict[str, dict[str, Any]]) -> str:
    """The table and what it shows."""
    lines = [
        "| search | target ms | seed | soft / target | predicted / target | measured / target | paths "
        "| channels searched → decided of all | changed | mIoU % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        paths = " ".join(row.paths[name] for name in sorted(row.paths, key=lambda name: (len(name), name)))
        paths += f" ({row.moved} moved)" if row.moved else ""
        lines.append(
            f"| {row.form} | {row.target_ms:.3f} | {row.seed} | {row.soft:.3f} | {row.predicted:.4f} | "
            f"{row.measured:.3f} | {paths} | {row.searched_channels} → {row.decided_channels} of {row.all_channels} | "
            f"{row.changed_channels} | {100 * row.miou:.1f} |"
        )
    for form, found in verdicts.items():
        lines += ["", f"{form}: {'passed' if passed(found) else 'failed'}; " + json.dumps(found)]
    return "\n".join(lines) + "\n"


def run_all(arguments: argparse.Namespace) -> list[Row]:
    """Everything that is not finished yet, with a bar; then the measurements."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("supernet and latency sweep", total=None)
        config = prepared_config(arguments)
        searches = planned(arguments, config)
        progress.update(bar, total=len(searches))
        configs = {form: with_supernet(config, arguments.out, form) for form in arguments.forms}
        for search in searches:
            progress.update(bar, description=f"{search.form}, {search.target_ms:.2f} ms, seed {search.seed}")
            run(search, configs[search.form])
            progress.advance(bar)
    return evaluated(searches, config)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of workdirs and results")
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--targets", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--search_steps", type=int, help="of the config where not given")
    parser.add_argument("--pretrain_steps", type=int, help="likewise")
    parser.add_argument("--predictor", type=Path, help="folder of a latency sweep, measured in OUT where not given")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the config where not given")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["worth"], help="of the search")
    arguments = parser.parse_args()
    arguments.out = arguments.out.absolute()
    try:
        rows = run_all(arguments)
    except UserError as error:
        parser.error(str(error))
    verdicts = {form: verdict([row for row in rows if row.form == form]) for form in arguments.forms}
    text = markdown(rows, verdicts)
    write_text(arguments.out / "landing.md", text)
    write_json(
        arguments.out / "landing.json", {"rows": [dataclasses.asdict(row) for row in rows], "verdicts": verdicts}
    )
    print(text)
    sys.exit(not all(passed(found) for found in verdicts.values()))


if __name__ == "__main__":
    main()
