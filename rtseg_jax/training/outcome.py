"""The end of a run: scores, costs and latencies of every network in one table, pictures, the exported file."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from rtseg_jax.architecture import ArchSpec, counts, declare_spec
from rtseg_jax.data import evaluation_batches
from rtseg_jax.data.subset import Subset, spread
from rtseg_jax.evaluation.scores import Scores
from rtseg_jax.evaluation.upsampling import label_map
from rtseg_jax.export.child import BEST, convert_in_child
from rtseg_jax.export.spec import FLOAT32
from rtseg_jax.files import Place, write_bytes, write_json
from rtseg_jax.latency import Timing, measure_networks_in_child, unit_of_device
from rtseg_jax.models.normalization import normalize
from rtseg_jax.search.cost import Target
from rtseg_jax.search.uniform import supernet_spec
from rtseg_jax.training.checkpoints import load_newest
from rtseg_jax.training.choosing import TRAINED
from rtseg_jax.training.processes import by_first, told
from rtseg_jax.training.reporting import background, report
from rtseg_jax.training.run import Costs, Run, zero_variables
from rtseg_jax.training.scoring import make_scorer
from rtseg_jax.visualization.examples import Example, write_examples
from rtseg_jax.visualization.results_table import results_table
from rtseg_jax.zoo import BiSeNetV2

PICTURES = 6  # validation pictures in the report

Row = dict[str, Any]


def evaluate(run: Run, costs: Costs | None) -> dict[str, Any]:
    """Scores and measures every network of the run, prints the table, writes the report.

    `costs` is None where the network was trained as it is: nothing is predicted, and there is no target.
    """
    architectures = _architectures(run)
    trained = [name for name in architectures if name in TRAINED and run.has(TRAINED[name])]
    if _sampled(run):
        trained = [name for name in trained if name != "supernet"]
    cards = _cards(run, trained)
    timings = _measure(run, {**architectures, **{name: run.workdir.exported(name) for name in cards}})
    scores = {
        name: cards[name]["scores"] if name in cards else _score(run, name, architectures[name]).as_json()
        for name in trained
    }
    rows = [_row(run, costs, name, arch, timings[name]) for name, arch in architectures.items()]
    for row in rows:
        if row["name"] in scores:
            row["miou"] = scores[row["name"]]["miou"]
        if row["name"] in cards:
            row["float32_miou"] = cards[row["name"]]["jax_miou"]
    rows = _with_slicing_rows(run, rows)
    choice = told(run.workdir.results).get("choice")
    held_out = run.held_out is not run.dataset.train
    target = costs.target if costs else None
    by_first(print_table, rows, target, unit_of_device(run.spec.latency.device), verdict(rows, choice, held_out))
    results = {"table": rows, "classes": scores, "verdict": verdict(rows, choice, held_out)}
    results |= background(run, costs) | (target.to_json() if target else {"target_cost": None})
    info = run.dataset.info
    pictures = _pictures(run)
    by_first(write_examples, run.workdir.report, pictures, info.class_names, info.palette)
    report(run, {"evaluate": results})
    return results


def _sampled(run: Run) -> bool:
    """Whether the supernet was trained one path at a time, for as long as the search needs it: it has no score."""
    return run.spec.search.rule != "published"


def export(run: Run) -> dict[str, Any]:
    """Writes `model.tflite` in a child process and returns its agreement with JAX, which the report then tells too."""
    results = told(lambda: _from_table(run)) or _convert(run, run.workdir.model, BEST)
    evaluated = told(run.workdir.results)["phases"].get("evaluate", {})
    if "title" in evaluated.get("data", {}):  # an earlier version's has no such report
        report(run, {"export": results})
    return results


def _architectures(run: Run) -> dict[str, ArchSpec]:
    """Everything that has a row: what was trained, and BiSeNetV2 as the yardstick for latency."""
    if not run.spec.searches:
        return {"trained": ArchSpec.load(run.workdir.trained), "bisenetv2": bisenetv2(run.spec.network.num_classes)}
    found = {"supernet": supernet_spec(run.spec.network, run.supernet), "searched": run.finetuned()}
    if "uniform" in told(run.workdir.results)["phases"]:  # its file is there before it is trained
        found["uniform"] = ArchSpec.load(run.workdir.uniform)
    return found | {"bisenetv2": bisenetv2(run.spec.network.num_classes)}


def bisenetv2(num_classes: int) -> ArchSpec:
    """The baseline of the paper, at its published width."""
    return ArchSpec(BiSeNetV2(num_classes), {}, {})


def _cards(run: Run, trained: list[str]) -> dict[str, dict[str, Any]]:
    """Writes the file of every trained network; none in float32, where the network itself is scored in its place."""
    if run.spec.latency.precision == FLOAT32:
        return {}
    return {name: _convert(run, run.workdir.exported(name), name) for name in trained}


def _from_table(run: Run) -> dict[str, Any] | None:
    """Hands over the file that the table was made with, and its card; None where there is none, as in float32."""
    found = run.workdir.results()
    file = run.workdir.exported(found.get("choice", {}).get("best", BEST))
    if "evaluate" not in found["phases"] or not file.with_suffix(".json").exists():
        return None
    card = json.loads(file.with_suffix(".json").read_text())
    write_bytes(run.workdir.model, file.read_bytes())
    write_json(run.workdir.model.with_suffix(".json"), card)
    return card


def _convert(run: Run, output: Place, network: str) -> dict[str, Any]:
    """Writes a file of a network in the numbers that the run asks for, and returns its card."""
    spec = run.spec.latency
    settings = {"precision": spec.precision, "network": network}
    return told(lambda: convert_in_child(run.workdir.root, output, spec.converter, **settings))


def _measure(run: Run, networks: dict[str, ArchSpec | Place]) -> dict[str, Timing]:
    """Latency of every architecture with random weights, or of every file."""
    spec = run.spec.latency

    def measured() -> list[list[Any]]:
        timings = measure_networks_in_child(list(networks.values()), spec.image_size, spec)
        return [[timing.ms, timing.runs, timing.noise] for timing in timings]

    return {name: Timing(*row) for name, row in zip(networks, told(measured), strict=True)}


def _score(run: Run, name: str, arch: ArchSpec) -> Scores:
    network = declare_spec(arch)
    scorer = make_scorer(run.model(network), run.dataset, run.spec.data, run.spec.train, run.placement)
    return scorer(run.load(TRAINED[name], f"{TRAINED[name]}_variables", network))


def _row(run: Run, costs: Costs | None, name: str, arch: ArchSpec, timing: Timing) -> Row:
    network = declare_spec(arch)
    predicted = costs.of_arch(arch) if costs else None
    return {
        "name": name,
        "miou": None,
        "parameters": counts.parameters(network),
        "gmacs": counts.macs(network, run.spec.latency.image_size) / 1e9,
        "predicted_cost": predicted and predicted.ms,
        "predicted_interval": predicted and [predicted.low_ms, predicted.high_ms],
        **({"cost_unit": costs.target.unit} if costs else {}),
        "latency_ms": timing.ms,
        "latency_unit": unit_of_device(run.spec.latency.device),
        "noise": timing.noise,
    }


def _with_slicing_rows(run: Run, rows: list[Row]) -> list[Row]:
    """The searched network also as sliced, and as recalibrated where it was; it costs the same each time."""
    results = told(run.source("search").results)["phases"]["search"] if run.has("search") else None
    if results is None:
        return rows
    searched = next(row for row in rows if row["name"] == "searched")
    stages = {"searched, sliced": "sliced_miou", "searched, recalibrated": "recalibrated_miou"}
    score, others = ("float32_miou", {"miou": None}) if "float32_miou" in searched else ("miou", {})
    extra = [searched | others | {"name": name, score: results[key]} for name, key in stages.items() if key in results]
    position = rows.index(searched)
    return [*rows[:position], *extra, *rows[position:]]


def print_table(rows: list[Row], target: Target | None, measured: str = "ms", verdict: str = "") -> None:
    """Prints the final table, and who won; `measured` is the unit of latencies."""
    console = Console()
    cost, unit = (target.cost, target.unit) if target else (None, "")
    console.print(results_table(rows, cost, unit, measured))
    if target is not None:
        console.print(verdict, highlight=False)


def verdict(rows: list[Row], choice: Row | None = None, held_out: bool = True) -> str:
    """Whether the search beat uniform scaling, and which network is handed over."""
    pictures = "held-out training pictures" if held_out else "the training pictures, of which none were held out"
    given = "" if choice is None or "held_out_miou" not in choice else f" {_handed_over(choice, pictures)}"
    return _comparison(rows) + given


def _handed_over(choice: Row, pictures: str) -> str:
    name, other = choice["best"], next(name for name in choice["among"] if name != choice["best"])
    scores = choice["held_out_miou"]
    return (
        f"Handed over (architecture.json, model.tflite): the {name} network, better on {pictures} "
        f"({100 * scores[name]:.1f} % against {100 * scores[other]:.1f} %)."
    )


def _comparison(rows: list[Row]) -> str:
    scores = {row["name"]: row["miou"] for row in rows}
    if scores.get("uniform") is None or scores.get("searched") is None:
        return "No uniformly scaled baseline was trained: whether the search was worth it is not known."
    gain = 100 * (scores["searched"] - scores["uniform"])
    if gain < 0:
        return f"Uniform scaling wins by {-gain:.1f} points of mIoU: the search was not worth it here."
    return f"The search beats uniform scaling by {gain:.1f} points of mIoU."


def _pictures(run: Run) -> dict[str, Example]:
    """Pictures, truths and predictions of the network that is handed over, by caption."""
    network = declare_spec(ArchSpec.load(run.workdir.architecture))
    like = run.placement.put(zero_variables(run.model(network)))
    # On the host first: each process computes them alone, with one device.
    variables = jax.device_get(run.placement.whole(load_newest(run.workdir.checkpoints("best_variables"), like)))
    model = run.model(network)

    @jax.jit
    def predict(variables: Any, images: jax.Array) -> Any:
        return model.apply(variables, normalize(images))["logits"]  # type: ignore[index]

    pictures = {}
    shown = spread(run.dataset.validation, PICTURES)
    batches = evaluation_batches(Subset(run.dataset.validation, shown), run.spec.data, 1, num_threads=0)
    for index, batch in zip(shown, batches, strict=True):
        example = run.dataset.validation[index]
        prediction = label_map(np.asarray(predict(variables, jnp.asarray(batch["image"])))[0], example["label"].shape)
        pictures[f"Validation picture {index}"] = Example(example["image"], example["label"], prediction)
    return pictures
