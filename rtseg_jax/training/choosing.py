"""The network that a run hands over: the best that it trained, by pictures that are not those of the score."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rtseg_jax.architecture import ArchSpec, declare_spec
from rtseg_jax.training.checkpoints import save_tree
from rtseg_jax.training.processes import by_first, told
from rtseg_jax.training.run import Run
from rtseg_jax.training.scoring import make_scorer
from rtseg_jax.training.workdir import Workdir

CANDIDATES = {"searched": "finetune", "uniform": "uniform", "trained": "train"}
"""The networks that may be handed over, and the phase that trains each."""

TRAINED = {"supernet": "pretrain", **CANDIDATES}
"""All networks that a run trains, likewise."""


def candidates(run: Run) -> dict[str, ArchSpec]:
    """The candidates whose training is finished."""
    found = {}
    # Of the run to start from only where this one does not train its own.
    finished = told(run.workdir.results)["phases"]
    if "finetune" in finished or ("finetune" not in run.spec.phases and run.has("finetune")):
        found["searched"] = run.finetuned()
    if "uniform" in finished:
        found["uniform"] = ArchSpec.load(run.workdir.uniform)
    if "train" in finished:
        found["trained"] = ArchSpec.load(run.workdir.trained)
    return found


def unsettled(place: Workdir) -> bool:
    """Whether a run ended between the end of a candidate's training and the choice."""
    finished = {name for name, phase in CANDIDATES.items() if place.finished(phase)}
    return not finished <= set(place.results().get("choice", {}).get("among", ()))


def settle(run: Run) -> None:
    """Chooses again where a candidate was finished after the last choice; a run may have ended in between."""
    found = candidates(run)
    among = {name: arch.digest for name, arch in found.items()}
    if found and told(run.workdir.results).get("choice", {}).get("among") != among:
        by_first(run.workdir.choose, {**hand_over(run, found), "among": among})


def hand_over(run: Run, found: Mapping[str, ArchSpec]) -> dict[str, Any]:
    """Writes architecture and weights of the candidate with the best held-out mIoU; equals go to the searched one.

    Returns:
      `best`, the name of that candidate, and the `held_out_miou` of all where there was a choice.
    """
    trained = {}
    for name, arch in found.items():
        network = declare_spec(arch)
        trained[name] = run.load(CANDIDATES[name], f"{CANDIDATES[name]}_variables", network)
    scores = {name: _held_out_miou(run, arch, trained[name]) for name, arch in found.items()} if len(found) > 1 else {}
    best = max(found, key=lambda name: scores.get(name, 0.0))  # the first of equals
    origin = run.workdir.provenance()
    save_tree(run.workdir.checkpoints("best_variables"), trained[best], {"provenance": origin})
    by_first(found[best].save, run.workdir.architecture, origin)
    return {"best": best} | ({"held_out_miou": scores} if scores else {})


def _held_out_miou(run: Run, arch: ArchSpec, variables: Any) -> float:
    dataset = dataclasses.replace(run.dataset, validation=run.held_out)
    model = run.model(declare_spec(arch))
    return make_scorer(model, dataset, run.spec.data, run.spec.train, run.placement)(variables).miou
