"""The report of a run for a colleague: what was searched, what won, why, as one HTML file and as Markdown."""

import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from rtseg_jax.export.spec import FLOAT32
from rtseg_jax.files import Place, write_text, write_whole
from rtseg_jax.latency.accuracy import INTERVAL_LEVEL
from rtseg_jax.visualization import plots
from rtseg_jax.visualization.channel_plots import Reasons, plot_channels, plot_widths
from rtseg_jax.visualization.document import (
    Block,
    Code,
    Document,
    Facts,
    Figures,
    Folded,
    Panels,
    Picture,
    Section,
    Table,
    Text,
    Verdict,
)
from rtseg_jax.visualization.history import Row
from rtseg_jax.visualization.style import DARK, LIGHT
from rtseg_jax.visualization.wording import (
    CHOICES,
    NETWORKS,
    PHASES,
    PRECISIONS,
    devices,
    duration,
    millions,
    name_of,
    part_of,
    percent,
    points,
    quantity,
    size,
    three_digits,
    within_part,
)

PAGE, TEXT = "report.html", "report.md"
FIGURES = ("results", "cost", "paths", "worth", "channels", "miou", "losses")
SHARES = "Beside each class: its share of the pixels, in truth | prediction."
ONE_SEED = "This is one run with one seed: another seed may turn a small gap around."


@dataclasses.dataclass(frozen=True)
class RunStory:
    """What a report is made of.

    Attributes:
      results: as in `results.json`, with the entry of phase evaluate.
      history: of this run.
      reasons: of a search by worth, as in `worth.json`.
      search: results of the search, which may be another run's; None where nothing was searched.
      uniform: widths of the uniformly scaled network.
      choices: of a mixed block.
      examples: pictures, whose files are in the report's folder.
    """

    results: Mapping[str, Any]
    history: Sequence[Row]
    reasons: Reasons | None = None
    search: Mapping[str, Any] | None = None
    uniform: Mapping[str, int] = dataclasses.field(default_factory=dict)
    choices: Sequence[str] = tuple(CHOICES)
    examples: Sequence[Panels] = ()

    @property
    def outcome(self) -> Mapping[str, Any]:
        """Of phase evaluate."""
        return self.results["phases"]["evaluate"]

    @property
    def config(self) -> Mapping[str, Any]:
        """As it was when the run began."""
        return self.results["config"]

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """A row per network."""
        return self.outcome["table"]

    @property
    def best(self) -> Mapping[str, Any]:
        """The row of the network that is handed over."""
        return next(row for row in self.rows if row["name"] == self.results["choice"]["best"])

    @property
    def target(self) -> float | None:
        """Of the search."""
        return self.outcome["target_cost"]

    @property
    def unit(self) -> str:
        """Of predictions and of the target."""
        return self.outcome.get("cost_unit", "ms")

    @property
    def measured_unit(self) -> str:
        """Of latencies in the table."""
        return self.rows[0].get("latency_unit", "ms")

    @property
    def marks(self) -> plots.Marks:
        """When the search of this run decided what."""
        if "search" not in self.results["phases"]:
            return ()
        steps, spec = self.config["train"]["search_steps"], self.config["search"]
        if spec["rule"] == "published":
            return [(int(spec["freeze_paths"] * steps), "paths frozen")]
        every = steps // spec["rounds"]
        return [
            (step, f"{number}\npaths decided" if number == 1 else str(number))
            for number, step in enumerate(range(every, steps + 1, every), 1)
        ]


def write_report(folder: Place, story: RunStory) -> Place:
    """Writes plots as PNG for light and for dark paper, `report.md`, and `report.html`, whose path it returns.

    Files of an earlier report are replaced; plots that have nothing to show are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = _draw(folder, story)
    document = run_document(story, drawn)
    write_text(folder / TEXT, document.markdown())
    write_text(folder / PAGE, document.html(folder))
    return folder / PAGE


def run_document(story: RunStory, drawn: Sequence[str]) -> Document:
    """What the report tells; `drawn` are the names of the figures that there are."""
    pictures = {name: Picture(f"{name}.png", f"{name}_dark.png", *text) for name, text in _captions(story).items()}
    shown = {name: [pictures[name]] if name in drawn else [] for name in FIGURES}
    sections = [
        Section("Accuracy and latency", [_networks(story), *shown["results"]]),
        Section("Classes", [_classes(story)]),
        Section("Pictures", [Text(SHARES), *story.examples] if story.examples else []),
        Section("What the search did", [*shown["cost"], *shown["paths"], *shown["channels"]]),
        Section("Why the network has its widths", shown["worth"]),
        Section("Training", [_phases(story), *shown["miou"], *shown["losses"]]),
        Section("The file", _file(story)),
        Section("Paths, config and versions", list(_recipe(story))),
    ]
    top: list[Block] = [_verdict(story), _figures(story), Facts(list(_facts(story)))]
    if story.results.get("command"):
        top.append(Code(story.results["command"]))
    return Document(title(story), top, [section for section in sections if section.blocks])


def title(story: RunStory) -> str:
    """Network and data set."""
    return f"{story.outcome['network']} on {story.outcome['data']['title']}"


def _draw(folder: Place, story: RunStory) -> list[str]:
    """Writes the figures; returns the names of those that have something to show."""
    search = story.search or {"widths": {}}
    widths = search["widths"]
    history = [*story.history, *_decided(story)]
    sizes = {name: total for row in history for name, (_, total) in row.get("kept", {}).items()}
    sizes |= {name: entry["size"] for name, entry in (story.reasons or {}).get("last", {}).items()}
    known = widths if set(widths) <= set(sizes) else {}
    plotted = {
        "results": partial(plots.plot_results, story.rows, story.target, story.unit),
        "cost": partial(plots.plot_cost, history, story.target, story.unit, story.marks),
        "paths": partial(
            plots.plot_paths,
            story.history,
            story.choices,
            [(step, text.removeprefix("1\n")) for step, text in story.marks[:1]],
        ),
        "worth": partial(plot_widths, known, sizes, story.uniform, story.reasons, story.unit),
        "channels": partial(plot_channels, history, list(widths)),
        "miou": partial(plots.plot_phase_miou, story.history),
        "losses": partial(plots.plot_losses, story.history),
    }
    drawn = []
    for name in FIGURES:
        for ending, look in (("", LIGHT), ("_dark", DARK)):
            figure: Figure | None = plotted[name](look=look)
            file = folder / f"{name}{ending}.png"
            if figure is None:
                file.unlink(missing_ok=True)
            else:
                write_whole(file, partial(figure.savefig, format="png"))
        drawn += [name] if figure is not None else []
    return drawn


def _decided(story: RunStory) -> list[Row]:
    """What the last decision of this run's search made of the last step's network."""
    search = story.results["phases"].get("search")
    if search is None or not story.history:
        return []
    sizes = {name: total for row in story.history for name, (_, total) in row.get("kept", {}).items()}
    kept = {name: [width, sizes[name]] for name, width in search["widths"].items() if name in sizes}
    return [{"phase": "search", "step": search["steps"], "cost": search["predicted_cost"], "kept": kept}]


def _captions(story: RunStory) -> dict[str, tuple[str, str]]:
    """Alternative text and caption of every figure."""
    unit, number = story.unit, len(story.marks)
    published = story.config["search"]["rule"] == "published"
    decided = (
        "The dotted line: paths are frozen."
        if published
        else f"Dotted lines: the {number} decisions, each under a lower target."
    )
    return {
        "results": (
            "Plot of validation mIoU against latency of every network",
            "Up and to the left is better. Networks without a score are lines at their latency: they were not trained "
            "here, or, as the supernet, only path by path.",
        ),
        "cost": (
            f"Plot of the predicted {quantity(unit)} over the search, down to {three_digits(story.target)} {unit}",
            f"Predicted {quantity(unit)} of the network under search. {decided}",
        ),
        "paths": (
            "Plot of the path probabilities of every mixed block over the search",
            "What each block of the search chooses from. The title of a panel names what it ended as.",
        ),
        "worth": (
            "Bars of the channels that every group kept, and their worth before and after the search",
            "Left: channels that are left, of those of the supernet. Right: what the cheapest channels of a group save "
            f"in loss per {unit} that they cost. Before the search this differs a thousandfold; after it, groups that "
            "could be narrowed are near one another, so that no exchange between two of them would help much."
            if story.reasons
            else "Channels that are left, of those of the supernet.",
        ),
        "channels": (
            "Heat map of the share of channels that every group keeps over the search",
            "Share of channels kept over the search, in the order of the network. The last column is the decision.",
        ),
        "miou": (
            "Plot of the validation mIoU over the run",
            "Validation mIoU, one colour per phase. The search cuts the network down, fine-tuning brings it back.",
        ),
        "losses": ("Plots of the training losses over the run", "Training losses: pale as logged, strong smoothed."),
    }


def _verdict(story: RunStory) -> Verdict:
    """Who won, what is handed over, and at what price."""
    rows = {row["name"]: row for row in story.rows}
    best, unit = story.best, story.measured_unit
    if story.target is None:
        return Verdict(f"{percent(best['miou'])} mIoU at {three_digits(best['latency_ms'])} {unit}.", [])
    headline, _, rest = story.outcome["verdict"].partition(". ")
    measured = [
        f"{name_of(NETWORKS, name)}: {percent(row['miou'])} at {three_digits(row['latency_ms'])} {unit}."
        for name in ("searched", "uniform")
        if (row := rows.get(name)) is not None
    ]
    return Verdict(f"{headline.removesuffix('.')}.", [text for text in (rest, " ".join(measured), ONE_SEED) if text])


def _figures(story: RunStory) -> Figures:
    """Of the network that is handed over."""
    best = story.best
    aim = "" if story.target is None else f"target {three_digits(story.target)} {story.unit}"
    figures = [
        ("mIoU", percent(best["miou"]), "validation"),
        ("Latency", f"{three_digits(best['latency_ms'])} {story.measured_unit}", aim),
        ("Parameters", millions(best["parameters"]), ""),
        ("Multiply-adds", f"{three_digits(best['gmacs'])} G", f"at {size(story.config['data']['eval_size'])}"),
    ]
    if (exported := story.results["phases"].get("export")) is not None:
        figures.append(("File", f"{exported['size'] / 1e6:.2f} MB", exported["file"]))
    return Figures(figures)


def _facts(story: RunStory) -> Iterator[tuple[str, str]]:
    """What the run was."""
    data, device, phases = story.outcome["data"], story.outcome["device"], story.results["phases"]
    held_out = f", {data['held_out']:,} held out" if data["held_out"] else ""
    yield "Network", f"{story.outcome['network']}, {name_of(NETWORKS, story.best['name']).lower()}"
    yield (
        "Data set",
        f"{data['title']}: {data['classes']} classes, {data['training']:,} training "
        f"pictures{held_out}, {data['validation']:,} validation pictures",
    )
    yield "Input", f"{size(story.config['data']['eval_size'])} pixels"
    yield "Timed on", ", ".join([device["title"], *device["details"]])
    if (precision := story.config["latency"].get("precision", FLOAT32)) != FLOAT32:
        yield "Files", PRECISIONS[precision]
    if story.target is not None:
        yield "Target", f"{three_digits(story.target)} {story.unit}, by prediction"
    yield "Trained on", devices(story.results["devices"])
    spent = sum(phase["seconds"] for phase in phases.values() if "seconds" in phase)
    yield "Date", f"{_date(story.outcome['date'])}; {duration(spent)} of work"
    yield "Seed", str(story.results["seed"])


def _date(iso: str) -> str:
    """A date that reads the same everywhere: 21 November 2026."""
    day = datetime.date.fromisoformat(iso)
    return f"{day.day} {day:%B %Y}"


def _networks(story: RunStory) -> Table:
    """A row per network; the one that is handed over stands out."""
    measured = "Measured ms" if story.measured_unit == "ms" else story.measured_unit.capitalize()
    foreseen = any(row["predicted_cost"] is not None for row in story.rows)
    rounded = any(row.get("float32_miou") is not None for row in story.rows)
    predicted = [f"Predicted {story.unit} ({100 * INTERVAL_LEVEL:g} % interval)"] if foreseen else []
    rows = [
        [
            name_of(NETWORKS, row["name"]),
            percent(row["miou"]),
            *([percent(row.get("float32_miou"))] if rounded else []),
            millions(row["parameters"]),
            three_digits(row["gmacs"]),
            *([_interval(row)] if foreseen else []),
            three_digits(row["latency_ms"]),
        ]
        for row in story.rows
    ]
    columns = ["Network", "mIoU", *(["In float32"] if rounded else []), "Parameters", "GMACs", *predicted, measured]
    return Table(columns, rows, strong=list(story.rows).index(story.best))


def _interval(row: Mapping[str, Any]) -> str:
    if row["predicted_cost"] is None:
        return "–"
    low, high = row["predicted_interval"]
    return f"{three_digits(row['predicted_cost'])} ({three_digits(low)} to {three_digits(high)})"


def _classes(story: RunStory) -> Table:
    """IoU by class of every network that was scored, and what the search gains on uniform scaling."""
    scored = {name: found["iou"] for name, found in story.outcome["classes"].items()}
    compared = {"searched", "uniform"} <= set(scored)
    rows = []
    for name in next(iter(scored.values())):
        shares = {network: iou.get(name) for network, iou in scored.items()}
        rows.append([name, *map(percent, shares.values()), *([_gap(shares)] if compared else [])])
    columns = ["Class", *(f"{name_of(NETWORKS, network)}, IoU" for network in scored)]
    return Table([*columns, *(["Difference, points"] if compared else [])], rows)


def _gap(shares: Mapping[str, float | None]) -> str:
    searched, uniform = shares["searched"], shares["uniform"]
    return "–" if searched is None or uniform is None else points(searched - uniform)


def _phases(story: RunStory) -> Table:
    """What each phase took, and left."""
    rows = []
    for name, phase in story.results["phases"].items():
        score = None if name == "export" else phase.get("sliced_miou" if name == "search" else "miou")
        steps = f"{phase['steps']:,}" if "steps" in phase else "–"
        rows.append([name_of(PHASES, name).capitalize(), steps, percent(score), duration(phase.get("seconds", 0.0))])
    return Table(["Phase", "Steps", "mIoU at its end", "Time"], rows)


def _file(story: RunStory) -> list[Block]:
    """The exported file beside the network that was trained."""
    found = story.results["phases"].get("export")
    if found is None:
        return []
    numbers = "float32" if found["export"]["quantize"] == "none" else found["export"]["quantize"]
    facts = [
        ("File", f"{found['file']}, {found['size'] / 1e6:.2f} MB, {numbers}; architecture {found['architecture']}"),
        (
            "Input",
            f"{size(found['export']['size'])} × 3, {found['export']['input']}; output: {found['export']['head']}",
        ),
    ]
    if found["latency_ms"] is not None:
        facts.append(("Latency on this host", f"{three_digits(found['latency_ms'])} ms, one thread"))
    for where in ("cpu", "gpu"):
        if (parity := found[where]) is not None:
            agree = f"{100 * parity['pixel_agreement']:.2f} % of pixels are the same as in JAX"
            facts.append((f"On the {where.upper()}", f"{agree}, on {parity['pictures']} pictures"))
    if found["miou"] is not None:
        scores = f"{percent(found['miou'])} of the file, {percent(found['jax_miou'])} of JAX"
        facts.append(("mIoU", f"{scores}, on {found['pictures']} validation pictures"))
    facts.append(("GPU delegate", found["gpu_verdict"] or "–"))
    facts.append(("Thresholds missed", "; ".join(found["failures"]) or "none"))
    return [Facts(facts)]


def _recipe(story: RunStory) -> Iterator[Block]:
    """Paths, versions, config."""
    if story.search is not None and story.search.get("paths"):
        chosen = (
            f"{part_of(block)}, {within_part(block)}: {name_of(CHOICES, path)}"
            for block, path in sorted(story.search["paths"].items(), key=lambda pair: plots.by_number(pair[0]))
        )
        yield Text("Paths that were chosen: " + "; ".join(chosen) + ".")
    origin = story.results["provenance"]
    versions = {"Commit": origin["commit"] or "not known", "Python": origin["python"], **origin["versions"]}
    yield Folded("Versions", Facts(list(versions.items())))
    yield Folded("The whole config", Code("\n".join(f"{name} = {value!r}" for name, value in _fields(story.config))))


def _fields(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, tuple(value) if isinstance(value, list) else value
