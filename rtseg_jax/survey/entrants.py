"""Who takes part in a survey: networks of the zoo without choices, and what runs have trained."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtseg_jax.architecture import ArchSpec, declare, network_class, network_classes
from rtseg_jax.architecture.network_spec import Published, Score
from rtseg_jax.errors import UserError
from rtseg_jax.search.uniform import whole_spec
from rtseg_jax.training.workdir import Workdir

OWN = "own"
"""Taxonomy of what a run has trained."""

CLASSES = 19  # of Cityscapes, which the survey's networks are counted with
SPLITS = ("test", "val")  # which score is shown, the first that there is; the survey plots the same
SOURCES = ("survey", "RTSeg", "authors")


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A network of a survey.

    Attributes:
      name: in the table, and of its files.
      arch: the network.
      published: what is known of it; of a run, its own score.
    """

    name: str
    arch: ArchSpec
    published: Published

    @property
    def score(self) -> Score | None:
        """The score that is shown: on Cityscapes before others, test before val, the survey's before others."""
        kinds = [SPLITS, SOURCES]

        def place(score: Score) -> tuple[int, ...]:
            found = zip(kinds, (score.split, score.source), strict=True)
            places = (kind.index(value) if value in kind else len(kind) for kind, value in found)
            return (int(score.data_set != "Cityscapes"), *places)

        return min(self.published.scores, key=place, default=None)


def of_zoo(names: Sequence[str] = ()) -> list[Entrant]:
    """Networks of the zoo by name; where none is named, all that have no choices left.

    Raises:
      UserError: a name that nobody has, or of a supernet.
    """
    found = []
    for name in names or sorted(network_classes()):
        spec = network_class(name)(CLASSES)
        network = declare(spec)
        if not network.mixed_blocks:
            found.append(Entrant(name, whole_spec(spec, network), spec.published))
        elif names:
            raise UserError(f"--networks names {name}, a supernet: search it, and name the run with --workdir")
    return found


def of_run(root: Path) -> Entrant:
    """The network that a run handed over, with its own score where it was evaluated.

    Raises:
      UserError: the folder has no network.
    """
    workdir = Workdir(root)
    if not workdir.architecture.exists():
        raise UserError(f"--workdir={root}: there is no architecture.json; name the workdir of a run that is trained")
    arch, results = ArchSpec.load(workdir.architecture), workdir.results()
    name = re.sub(r"\W+", "_", workdir.root.name)
    published = Published(f"own: {workdir.root.name}", "this run", OWN, "", _own_scores(results))
    return Entrant(name, arch, published)


def _own_scores(results: dict[str, Any]) -> tuple[Score, ...]:
    best = results.get("choice", {}).get("best")
    rows = results["phases"].get("evaluate", {}).get("table", ())
    data = results.get("config", {}).get("data", {}).get("name", "own data")
    return tuple(
        Score(data, "val", 100 * row["miou"], "this run", pretrained=False) for row in rows if row["name"] == best
    )


def unique(entrants: Sequence[Entrant]) -> list[Entrant]:
    """The same; raises `UserError` where two have one name."""
    names = [entrant.name for entrant in entrants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{', '.join(twice)}: named twice; give each workdir a name of its own")
    return list(entrants)
