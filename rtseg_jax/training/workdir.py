"""The workdir: what a run leaves on disk, and the check that it belongs to the config."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from rtseg_jax.errors import UserError
from rtseg_jax.files import Place, append_line, on_disk, place, whole_lines, write_json, write_text
from rtseg_jax.provenance import provenance

FREE_FIELDS = (
    "phases",
    "profile_steps",
    "converter",
    "mesh",
    "train.rematerialize",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.patience_minutes",
    "train.num_threads",
    "train.num_workers",
    "train.tensorboard",
    "train.eval_batch_size",
    "data.data_dir",
    "data.cache_gib",
)  # may differ between two starts of a run

UNDONE = ("evaluate", "export")
"""Phases that a new choice of the network to hand over undoes."""

LATER_FIELDS = {
    "latency.precision": "float32",
    "network.mlp_activation": "gelu",
    "search.prior": 0.0,
    "train.rounded_steps": 0,
}
"""Fields that came when there were runs already, and what those did: they go on under these values."""


EARLIER_NAMES = {
    "target_ms": "target_cost",
    "predicted_ms": "predicted_cost",
    "predicted_interval_ms": "predicted_interval",
    "predicted_unit": "cost_unit",
    "unit": "cost_unit",
}
"""Names in `results.json` and what they are now: runs that began before costs had their unit in their names go on."""


def with_present_names(value: Any) -> Any:
    """What a phase left, its names as they are now."""
    if isinstance(value, Mapping):
        return {EARLIER_NAMES.get(name, name): with_present_names(entry) for name, entry in value.items()}
    return [with_present_names(entry) for entry in value] if isinstance(value, list) else value


class Workdir:
    """Paths and files of one run."""

    def __init__(self, root: str | Place):
        found = place(root)
        self.root: Place = found.absolute() if on_disk(found) else found

    def and_start(self, init_from: str | None) -> list["Workdir"]:
        """Where phases may be finished: here, and after it in the run to start from, if there is one."""
        return [self, Workdir(init_from)] if init_from else [self]

    @property
    def architecture(self) -> Place:
        """The `ArchSpec` of the best network found: the searched one, or the yardstick where that wins."""
        return self.root / "architecture.json"

    @property
    def searched(self) -> Place:
        """The `ArchSpec` that the search decided on."""
        return self.root / "searched.json"

    @property
    def trained(self) -> Place:
        """The `ArchSpec` of a network that was trained as it is."""
        return self.root / "trained.json"

    @property
    def worth(self) -> Place:
        """Why the search by worth decided so: worth per cost of every group, decision by decision."""
        return self.root / "worth.json"

    @property
    def uniform(self) -> Place:
        """The `ArchSpec` of the uniformly scaled baseline."""
        return self.root / "uniform.json"

    @property
    def classes(self) -> Place:
        """Names, colours and ids of the classes that are learned; a class file."""
        return self.root / "classes.json"

    @property
    def history(self) -> Place:
        """One JSON line per logged step."""
        return self.root / "history.jsonl"

    @property
    def latency(self) -> Place:
        """Measurements and predictor."""
        return self.root / "latency"

    @property
    def profile(self) -> Place:
        """Traces of training steps, a folder for each phase."""
        return self.root / "profile"

    @property
    def report(self) -> Place:
        """Pictures."""
        return self.root / "report"

    @property
    def model(self) -> Place:
        """The exported network."""
        return self.root / "model.tflite"

    def exported(self, network: str) -> Place:
        """The file that stands for a trained network in the table of a run that ships no float32."""
        return self.root / "exported" / f"{network}.tflite"

    def checkpoints(self, phase: str) -> Place:
        """Orbax checkpoints of a phase."""
        return self.root / "checkpoints" / phase

    def results(self) -> dict[str, Any]:
        """Contents of `results.json`: one entry per finished phase."""
        path = self.root / "results.json"
        found = json.loads(path.read_text()) if path.exists() else {"phases": {}}
        return found | {"phases": with_present_names(found["phases"])}

    def finished(self, phase: str) -> bool:
        """Whether a phase has written its results."""
        return phase in self.results()["phases"]

    def finish(self, phase: str, results: Mapping[str, Any]) -> None:
        """Records a phase's results; from now on it is skipped."""
        everything = self.results()
        everything["phases"][phase] = dict(results)
        write_json(self.root / "results.json", everything)

    def choose(self, choice: Mapping[str, Any]) -> None:
        """Records which network is handed over; what was scored and exported of another one is to be done again."""
        everything = self.results()
        for phase in UNDONE:
            everything["phases"].pop(phase, None)
        write_json(self.root / "results.json", {**everything, "choice": dict(choice)})

    def provenance(self) -> dict[str, Any]:
        """Commit, versions and digest of the config, for the files of a workdir that is claimed."""
        return provenance() | {"config": config_digest(json.loads((self.root / "config.json").read_text()))}

    def describe_run(self, values: Mapping[str, Any]) -> None:
        """Records seed, config, versions and device at the top of `results.json`."""
        write_json(self.root / "results.json", {**self.results(), **values})

    def claim(self, config: ml_collections.ConfigDict, classes: Mapping[str, Any]) -> None:
        """Makes the workdir belong to `config` and the classes; raises `UserError` if it belongs to others."""
        self.check(config, classes)
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.root / "config.json", json.loads(config.to_json_best_effort()))
        write_json(self.classes, classes)

    def check(self, config: ml_collections.ConfigDict, classes: Mapping[str, Any]) -> None:
        """Raises `UserError` if the workdir belongs to another config, or to other classes."""
        path = self.root / "config.json"
        wanted = json.loads(config.to_json_best_effort())
        if path.exists():
            differences = list(differing_fields(json.loads(path.read_text()), wanted))
            if differences:
                raise UserError(
                    f"{self.root} belongs to another config; {'; '.join(differences)}; name another --workdir, or "
                    "start from that run with --config.init_from"
                )
        if self.classes.exists() and json.loads(self.classes.read_text()) != classes:
            raise UserError(
                f"{self.classes}: this run began with other classes than the data set has now; name another --workdir"
            )

    def append_history(self, row: Mapping[str, Any]) -> None:
        """Records one more row of a phase."""
        append_line(self.history, json.dumps(row))

    def forget_history(self, phase: str, step: int, steps: int) -> None:
        """Drops the rows of `phase` that will be written again by a run that goes on after `step` of `steps`.

        The score at the end of a phase is taken after its last checkpoint, and so it is taken again.
        """
        if not self.history.exists():
            return

        def stays(row: Mapping[str, Any]) -> bool:
            again = row["step"] > step or (row["step"] == steps and "losses" not in row)
            return row["phase"] != phase or not again

        # A run that was killed while it wrote, or a full disk, leaves a row that is cut off.
        kept = [row for row in map(json.loads, whole_lines(self.history)) if stays(row)]
        write_text(self.history, "".join(json.dumps(row) + "\n" for row in kept))


def differing_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Describes the fields in which two configs differ, those that may change aside."""
    for field, (before, after) in differing_values(old, new).items():
        came_later = before is None and field in LATER_FIELDS and after == LATER_FIELDS[field]
        if not is_free(field) and not came_later:
            yield f"{field} is {after!r} here and {before!r} there"


def is_free(field: str) -> bool:
    """Whether a field, or the group that it is in, may differ between two starts of a run."""
    return any(f"{field}.".startswith(f"{free}.") for free in FREE_FIELDS)


def differing_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Both values of every field in which two configs differ; None for a field that one of them lacks."""
    before, after = flat_fields(old), flat_fields(new)
    pairs = {field: (before.get(field), after.get(field)) for field in sorted({*before, *after})}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}


def config_digest(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that identify a config, the fields aside that may change between two starts."""
    fields = {name: value for name, value in flat_fields(config).items() if not is_free(name)}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def flat_fields(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a config by their dotted names."""
    result: dict[str, Any] = {}
    for name, value in config.items():
        result |= flat_fields(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return result
