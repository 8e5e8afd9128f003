"""What a run's report is made of, gathered from its workdir."""

import datetime
import json
from collections.abc import Mapping
from typing import Any

from rtseg_jax.architecture import SKIP, ArchSpec
from rtseg_jax.data.registry import entry_of
from rtseg_jax.latency.devices import TITLES
from rtseg_jax.training.processes import by_first
from rtseg_jax.training.run import Costs, Run
from rtseg_jax.training.workdir import Workdir
from rtseg_jax.visualization.examples import read_examples
from rtseg_jax.visualization.history import read_history
from rtseg_jax.visualization.report import RunStory, write_report


def background(run: Run, costs: Costs | None) -> dict[str, Any]:
    """What the report says of the run beside its figures: network, day, device, numbers of pictures."""
    held_out = 0 if run.held_out is run.dataset.train else len(run.held_out)
    return {
        "network": run.spec.network.published.title.removesuffix(" supernet"),
        "date": datetime.date.today().isoformat(),
        "device": {"title": TITLES[run.spec.latency.device], "details": device_details(costs.card if costs else {})},
        "data": {
            "title": entry_of(run.spec.data.name).title,
            "classes": run.dataset.info.num_classes,
            "training": len(run.dataset.train),
            "held_out": held_out,
            "validation": len(run.dataset.validation),
        },
    }


def device_details(card: Mapping[str, Any]) -> list[str]:
    """Hardware, runtime and statistic of a latency card, as far as it has them."""
    threads = card.get("threads")
    counted = [] if threads is None else [f"{threads} thread{'s' * (threads != 1)}"]
    fields = [str(card[name]) for name in ("device", "runtime", "precision") if card.get(name)]
    return [*fields, *counted, *([str(card["statistic"])] if card.get("statistic") else [])]


def report(run: Run, new: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the report of what is in the workdir, with results of phases that are not recorded there yet."""
    searched = run.source("search") if run.has("search") else None
    by_first(_write, run, new, searched)


def _write(run: Run, new: Mapping[str, Mapping[str, Any]], searched: Workdir | None) -> None:
    results = run.workdir.results()
    results["phases"] = {**results["phases"], **new}
    worth = (searched or run.workdir).worth
    story = RunStory(
        results,
        read_history(run.workdir.history),
        json.loads(worth.read_text()) if worth.exists() else None,
        searched.results()["phases"]["search"] if searched else None,
        ArchSpec.load(run.workdir.uniform).widths if run.workdir.uniform.exists() else {},
        next((mixed.choices for mixed in run.supernet.mixed_blocks), (SKIP,)),
        read_examples(run.workdir.report),
    )
    write_report(run.workdir.report, story)
