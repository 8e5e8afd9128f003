"""The table of a survey: Markdown for people, CSV with a line per network and size, JSON with everything."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rtseg_jax.architecture.network_spec import Score
from rtseg_jax.survey.entrants import Entrant
from rtseg_jax.survey.ranking import Ranking
from rtseg_jax.survey.rows import Row, Size, size_text

MOVED = 5  # networks that are named per order
CARD = ("device", "runtime", "precision", "threads", "warmup")
TAXONOMY = {
    "ED": "encoder-decoder",
    "MB": "multi-branch",
    "ML": "meta-learning",
    "AT": "attention",
    "TO": "training optimisation",
    "": "not in the survey",
    "own": "own",
}


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a survey found.

    Attributes:
      entrants: in the order of the table.
      rows: of every entrant at every size.
      rankings: against published orders.
    """

    entrants: Sequence[Entrant]
    rows: Sequence[Row]
    rankings: Sequence[Ranking]

    @property
    def sizes(self) -> list[Size]:
        """Of the rows, the largest first."""
        return sorted({row.size for row in self.rows}, reverse=True)

    def row(self, name: str, size: Size) -> Row:
        """The row of an entrant at a size."""
        return next(row for row in self.rows if (row.network, row.size) == (name, size))

    @property
    def cards(self) -> list[Mapping[str, Any]]:
        """What the figures mean; more than one where rows were measured in different circumstances."""
        found = [{name: row.card.get(name) for name in CARD} for row in self.rows if row.card]
        return [card for number, card in enumerate(found) if card not in found[:number]]


def markdown(survey: Survey) -> str:
    """The whole page."""
    parts = [_heading(survey), _speeds(survey)]
    parts += [_details(survey, size) for size in survey.sizes]
    parts += [_orders(survey)] if survey.rankings else []
    return "\n\n".join(parts) + "\n"


def score_text(score: Score | None) -> str:
    """A score with data set, split, source and pre-training."""
    if score is None:
        return "–"
    return f"{score.miou:.1f} {score.data_set} {score.split}, {score.source}, {score.start}"


def outcome(row: Row) -> str:
    """Pictures per second, or why there are none."""
    if row.fps is not None:
        return f"{row.fps:.3g}" if row.fps < 100 else f"{row.fps:.0f}"
    return "refused" if row.refused else "left out"


def _heading(survey: Survey) -> str:
    lines = [f"- {', '.join(f'{name}: {value}' for name, value in card.items())}" for card in survey.cards]
    dates = sorted({row.date for row in survey.rows if row.date})
    measured = f"Measured from {dates[0]} to {dates[-1]}: " if dates else ""
    clocks = sorted({row.latency.clock for row in survey.rows if row.latency})
    text = "batch 1, random input; FPS are those of the mean of the passes after warm-up"
    return "\n".join(["# Survey", "", f"{measured}{text}, by {' or '.join(clocks) or 'no clock'}.", "", *lines])


def _speeds(survey: Survey) -> str:
    sizes = survey.sizes
    header = ["network", "taxonomy", "mIoU %", "M params", *(f"FPS {size_text(size)}" for size in sizes)]
    lines = []
    for entrant in survey.entrants:
        rows = [survey.row(entrant.name, size) for size in sizes]
        published = entrant.published
        known = [published.title, TAXONOMY[published.taxonomy], score_text(entrant.score)]
        lines.append([*known, f"{rows[0].parameters / 1e6:.2f}", *map(outcome, rows)])
    refused = [f"- {row.network} at {size_text(row.size)}: {row.refused}" for row in survey.rows if row.refused]
    left = [f"- {row.network} at {size_text(row.size)}: {row.left_out}" for row in survey.rows if row.left_out]
    parts = [_table(header, lines)]
    parts += ["\n".join(["Refused:", "", *refused])] if refused else []
    parts += ["\n".join(["Left out:", "", *left])] if left else []
    return "\n\n".join(parts)


def _details(survey: Survey, size: Size) -> str:
    header = ["network", "GMACs", "passes", "mean ms", "p50", "p90", "noise %", "wall mean ms", "wall p50"]
    lines = []
    for entrant in survey.entrants:
        row = survey.row(entrant.name, size)
        if row.latency is not None:
            main, wall = row.latency, row.latencies[0]
            noise = None if main.noise is None else 100 * main.noise
            numbers = (main.mean_ms, main.p50_ms, main.p90_ms, noise, wall.mean_ms, wall.p50_ms)
            lines.append([entrant.published.title, f"{row.gmacs:.2f}", str(row.passes), *map(_number, numbers)])
    return f"## {size_text(size)}\n\n{_table(header, lines)}"


def _orders(survey: Survey) -> str:
    titles = {entrant.name: entrant.published.title for entrant in survey.entrants}
    lines = []
    for ranking in survey.rankings:
        moves = [
            f"{titles[name]} {ranking.places[name][1]} → {ranking.places[name][0]}" for name in ranking.moved(MOVED)
        ]
        where = f"{ranking.device}, {size_text(ranking.size)}"
        lines.append([where, str(len(ranking.places)), f"{ranking.correlation:.2f}", ", ".join(moves)])
    header = ["published on", "networks", "Spearman's ρ", "moved most (place there → here, 1 the fastest)"]
    return f"## Order\n\n{_table(header, lines)}"


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---"] * 2 + ["---:"] * (len(header) - 2) if len(header) > 2 else ["---"] * len(header)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *lines))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def as_csv(survey: Survey) -> str:
    """A line for every network and size; columns that are not known are empty."""
    text = io.StringIO()
    writer = csv.writer(text)
    clocks = ("mean_ms", "p50_ms", "p90_ms", "p95_ms", "min_ms", "noise")
    score = ("miou", "data_set", "split", "source", "pretrained")
    known = ("network", "title", "taxonomy", *score, "parameters", "gmacs", "width", "height")
    writer.writerow([*known, "fps", "passes", "clock", *clocks, "wall_mean_ms", "wall_p50_ms", "refused", "left_out"])
    for entrant in survey.entrants:
        published, shown = entrant.published, entrant.score
        scored = ["" if shown is None else getattr(shown, name) for name in score]
        for size in survey.sizes:
            row, (height, width) = survey.row(entrant.name, size), size
            main, wall = row.latency, row.latencies[0] if row.latencies else None
            writer.writerow(
                [entrant.name, published.title, published.taxonomy, *scored]
                + [row.parameters, row.gmacs, width, height, row.fps, row.passes, main and main.clock]
                + [main and getattr(main, name) for name in clocks]
                + [wall and wall.mean_ms, wall and wall.p50_ms, row.refused, row.left_out]
            )
    return text.getvalue()


def as_json(survey: Survey) -> dict[str, Any]:
    """Everything."""
    entrants = [
        {
            "name": entrant.name,
            **dataclasses.asdict(entrant.published),
            "shown": entrant.score and dataclasses.asdict(entrant.score),
            "rows": [
                {**survey.row(entrant.name, size).to_json(), "fps": survey.row(entrant.name, size).fps}
                for size in survey.sizes
            ],
        }
        for entrant in survey.entrants
    ]
    rankings = [dataclasses.asdict(ranking) for ranking in survey.rankings]
    return json.loads(json.dumps({"networks": entrants, "orders": rankings}))
