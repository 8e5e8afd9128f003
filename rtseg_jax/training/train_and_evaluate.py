"""A whole run: the phases in their order, each skipped once it is finished."""

import contextlib
import json
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import ml_collections

from rtseg_jax.config import RunSpec, run_spec
from rtseg_jax.data.class_file import to_json
from rtseg_jax.errors import UserError
from rtseg_jax.files import Place, on_disk, remove_remains
from rtseg_jax.phase_names import PHASES, phases_of
from rtseg_jax.training import choosing, outcome, phases, search_phase
from rtseg_jax.training.failures import in_one_line
from rtseg_jax.training.lock import locked
from rtseg_jax.training.preemption import Notice
from rtseg_jax.training.processes import by_first, say, told
from rtseg_jax.training.run import Run
from rtseg_jax.training.teaching import teacher_of
from rtseg_jax.training.workdir import UNDONE, Workdir

NEED_COSTS = {"pretrain", "search", "uniform", "evaluate"}
BUCKETS = "gs://"  # the only ones into which Orbax writes


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str | Place, command: str = "") -> dict[str, Any]:
    """Runs what is left of the config's phases in the workdir and returns `results.json`.

    Of several processes all call it, with a workdir that all of them reach. `command` is what started it, for the
    report.

    Raises:
      UserError: anything a user can put right; where possible before anything is trained.
      Preempted: the run was told to end; it goes on when it is started again.
    """
    spec, place = run_spec(config), Workdir(workdir)
    if not on_disk(place.root) and not str(place.root).startswith(BUCKETS):
        raise UserError(f"{place.root}: checkpoints are kept on disks and in {BUCKETS} only; name another --workdir")
    by_first(place.check, config, to_json(spec.info))
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(place.root / "compiled"))
    unsettled = told(lambda: bool(choosing.unsettled(place)))
    undone = UNDONE if unsettled else ()  # by the choice that comes first
    left = told(lambda: [p for p in PHASES if p in spec.phases and (p in undone or not place.finished(p))])
    for phase in (phase for phase in spec.phases if phase not in left):
        say(f"{phase}: finished before, skipped")
    check_trained(spec, place, left)
    if left or unsettled:
        with contextlib.ExitStack() as held, in_one_line(place.root), Notice() as notice:
            by_first(lambda: begin(held, place.root))
            run_phases(config, spec, place, left, notice, command)
    return told(place.results)


def begin(held: contextlib.ExitStack, root: Place) -> None:
    """Keeps other runs out of a workdir until `held` is closed, and removes what a killed one left of its files."""
    held.enter_context(locked(root))
    if on_disk(root):
        remove_remains(root)


READS = {"search": ("pretrain",), "evaluate": ("finetune", "train"), "export": ("finetune", "uniform", "train")}
"""Phases that need another one, and which: one of them is enough."""

INHERITED = ("pretrain", "finetune")
"""Phases whose results may also be read from the run to start from."""


def check_trained(spec: RunSpec, place: Workdir, left: list[str]) -> None:
    """Raises `UserError` where a phase needs what nobody has trained, before anything is measured for it."""
    places = place.and_start(spec.init_from)
    for phase in left:
        needed = READS.get(phase, ())
        earlier = PHASES[: PHASES.index(phase)]
        if not needed or any(other in left and other in earlier for other in needed):
            continue
        if not any(
            there.finished(other) for there in places for other in needed if there is place or other in INHERITED
        ):
            own = [other for other in needed if other in phases_of(spec.network.name)]
            raise UserError(
                f"config.phases={','.join(spec.phases)}: nothing is trained in {place.root} that the phase {phase!r} "
                f"could read; add {' or '.join(map(repr, own))}, leave config.phases empty, or name the workdir of a "
                f"run that finished it with --workdir or, for {' and '.join(INHERITED)}, config.init_from"
            )


def run_phases(
    config: ml_collections.ConfigDict,
    spec: RunSpec,
    place: Workdir,
    left: list[str],
    notice: Notice,
    command: str = "",
) -> None:
    """Checks data and target first, then claims the workdir and runs the phases that are left.

    A start that ends in a wrong setting leaves the workdir to the next one; only a latency sweep stays in it.
    """
    teacher_of(spec)  # one that cannot teach is refused before the hours of the phases that need none
    run = Run.start(spec, place, notice)
    priced = spec.searches and NEED_COSTS & set(left)
    costs: Any = run.costs() if priced else None  # only those phases are given it
    by_first(place.claim, config, to_json(spec.info))
    if not (place.root / "config.json").exists():
        raise UserError(
            f"{place.root}: process {jax.process_index()} sees no config.json there; name a shared --workdir"
        )
    recorded = {"config": json.loads(config.to_json_best_effort()), "provenance": place.provenance()}
    described = {"seed": spec.train.seed, "command": command, "devices": device_names()}
    by_first(place.describe_run, {**described, **recorded})
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "train": partial(phases.train, run),
        "pretrain": partial(phases.pretrain, run, costs),
        "search": partial(search_phase.search, run, costs),
        "finetune": partial(phases.finetune, run),
        "uniform": partial(phases.uniform, run, costs),
        "evaluate": partial(outcome.evaluate, run, costs),
        "export": partial(outcome.export, run),
    }
    choosing.settle(run)
    for phase in (phase for phase in PHASES if phase in spec.phases):
        # Only now: a new choice undoes what was scored and exported before.
        if told(partial(place.finished, phase)):
            continue
        say(f"{phase} begins")
        began = time.monotonic()
        results = steps[phase]()
        timed = {"seconds": time.monotonic() - began, "provenance": place.provenance()}
        by_first(place.finish, phase, {**results, **timed})
        choosing.settle(run)


def device_names() -> list[str]:
    """What JAX runs on, for `results.json`."""
    return [f"{device.platform}: {device.device_kind}" for device in jax.devices()]
