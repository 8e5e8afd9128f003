"""Several sizes from one supernet: every phase for every latency target, a table and a plot of all."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import ml_collections

from rtseg_jax.config import run_spec
from rtseg_jax.errors import UserError
from rtseg_jax.files import write_json, write_text, write_whole
from rtseg_jax.training.run import Run
from rtseg_jax.training.train_and_evaluate import train_and_evaluate
from rtseg_jax.training.workdir import Workdir
from rtseg_jax.visualization.pareto_plot import plot_front
from rtseg_jax.visualization.wording import NETWORKS, name_of

SHOWN = ("searched", "uniform", "bisenetv2")


def targets_of(texts: list[str]) -> list[float]:
    """Targets in rising order; raises `UserError` for what is no latency."""
    try:
        targets = sorted({float(text) for text in texts})
    except ValueError as error:
        raise UserError(f"--targets is {','.join(texts)}: it must be milliseconds, such as 20,30,45") from error
    if not targets or targets[0] <= 0:
        raise UserError(f"--targets is {','.join(texts)}: latencies must be positive")
    return targets


def front(config: ml_collections.ConfigDict, targets: list[float], out: Path) -> str:
    """Runs every phase for every target; returns the table, which is also in `out`.

    Raises:
      UserError: among others, a target that no network of the space meets, before anything is searched.
    """
    spec = run_spec(config)
    if config.budget:
        raise UserError("config.budget is set: a front has its targets in --targets, in milliseconds; leave it empty")
    if "search" not in spec.phases:
        raise UserError(f"config.phases is {spec.phases}: a front searches for every target; leave it empty")
    supernet = _changed(config, phases=("pretrain",))
    run = Run.start(run_spec(supernet), Workdir(out / "supernet"))
    for target in targets:  # one that is out of reach is refused before hours are spent
        aimed = _changed(supernet)
        aimed.latency.target_ms = target
        dataclasses.replace(run, spec=run_spec(aimed)).costs()
    train_and_evaluate(supernet, out / "supernet")
    predictor = config.latency.predictor or str(out / "supernet" / "latency")
    left = tuple(phase for phase in spec.phases if phase != "pretrain")
    runs = []
    for target in targets:
        one = _changed(config, phases=left, init_from=str(out / "supernet"))
        one.latency.target_ms, one.latency.predictor = target, predictor
        runs.append((target, one, Workdir(out / f"{target:g}ms")))
    rows: list[dict[str, Any]] = []
    for target, one, workdir in runs:
        train_and_evaluate(one, workdir.root)
        jax.clear_caches()  # every target compiles networks of its own
        rows += rows_of(target, workdir)
        write_json(out / "pareto.json", rows)
        write_text(out / "pareto.md", markdown(rows))
        write_whole(out / "pareto.png", partial(plot_front(rows).savefig, format="png"))
    return markdown(rows)


def _changed(config: ml_collections.ConfigDict, **fields: Any) -> ml_collections.ConfigDict:
    result = config.copy_and_resolve_references()
    with result.unlocked():
        for name, value in fields.items():
            result[name] = value
    return result


def rows_of(target: float, workdir: Workdir) -> list[dict[str, Any]]:
    """The networks of one target that the front shows."""
    results = workdir.results()
    table = results["phases"].get("evaluate", {}).get("table", [])
    best = results.get("choice", {}).get("best")
    wanted = ("name", "miou", "parameters", "gmacs", "latency_ms")
    return [
        {"target_ms": target, "handed_over": row["name"] == best, "workdir": workdir.root.name}
        | {name: row[name] for name in wanted}
        for row in table
        if row["name"] in SHOWN
    ]


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table; the network that each workdir hands over is bold."""
    lines = ["| target ms | network | mIoU % | parameters M | GMACs | measured ms |", "|---|---|---|---|---|---|"]
    for row in rows:
        network = name_of(NETWORKS, row["name"])
        name = f"**{network}**" if row["handed_over"] else network
        miou = "–" if row["miou"] is None else f"{100 * row['miou']:.1f}"
        cells = (f"{row['target_ms']:g}", name, miou, f"{row['parameters'] / 1e6:.3f}", f"{row['gmacs']:.3f}")
        lines.append(f"| {' | '.join(cells)} | {row['latency_ms']:.2f} |")
    return "\n".join(lines) + "\n"
