"""Times the networks of the zoo, and your own, under one protocol on your device.

examples:
    rtseg_jax survey --device=host_cpu --sizes=2048x1024,1024x512,512x256 --output=survey
    rtseg_jax survey --device=jax --networks=fast_scnn,stdc1 --workdir=workdir/camvid --output=survey

The protocol is that of Holder and Shafique's survey: the mean of 100 passes after warm-up, batch 1, random input; p50,
p90 and noise stand beside it. `--device=jax` runs JAX on its device, all others run `.tflite` files. What is measured
is on disk row by row: the same command goes on where it was stopped. It leaves `DEVICE.md`, `.csv`, `.json` and `.png`.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.progress import Progress

from rtseg_jax.command_line import Command, output_flag
from rtseg_jax.errors import UserError
from rtseg_jax.files import write_json, write_text, write_whole
from rtseg_jax.latency.devices import BACKENDS, SWEEP_BACKENDS
from rtseg_jax.latency.devices.browser import BROWSER_DEVICES
from rtseg_jax.survey.child import measure_in_child
from rtseg_jax.survey.entrants import Entrant, of_run, of_zoo, unique
from rtseg_jax.survey.measuring import Request
from rtseg_jax.survey.ranking import rankings
from rtseg_jax.survey.rows import Protocol, Row, Size, empty_row, find_row, size_text
from rtseg_jax.survey.table import TAXONOMY, Survey, as_csv, as_json, markdown
from rtseg_jax.visualization.survey_plot import Point, plot_survey


def define_flags(values: flags.FlagValues) -> None:
    """The command's flags."""
    devices, default = list(BACKENDS | SWEEP_BACKENDS), Protocol("host_cpu")
    flags.DEFINE_enum("device", default.device, devices, "Where to measure.", flag_values=values)
    sizes = "2048x1024,1024x512,512x256"
    flags.DEFINE_string("sizes", sizes, "WIDTHxHEIGHT of the pictures, as the survey has them.", flag_values=values)
    output_flag(values, "FOLDER: rows, table and plot.")
    flags.DEFINE_list("networks", [], "Networks of the zoo; none: all without choices.", flag_values=values)
    flags.DEFINE_multi_string("workdir", [], "A run whose network takes part; may be repeated.", flag_values=values)
    flags.DEFINE_integer("threads", default.threads, "Of the runtime.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("passes", default.passes, "Timed passes.", lower_bound=1, flag_values=values)
    more = "Fewer passes where all would take longer, by the time of a smaller size; 0: never."
    flags.DEFINE_float("most_seconds", default.most_seconds, more, lower_bound=0, flag_values=values)
    slow = "Sizes are left out at which a pass would take longer, by that of a smaller size; 0: none."
    flags.DEFINE_float("slowest_seconds", default.slowest_seconds, slow, lower_bound=0, flag_values=values)


def main(_: list[str], values: flags.FlagValues) -> None:
    """Measures what is missing, and writes table and plot."""
    if values.device in BROWSER_DEVICES:
        raise UserError(f"--device={values.device}: each network would have a link of its own; use benchmark for them")
    asked = Protocol(values.device, values.threads, values.passes, values.most_seconds, values.slowest_seconds)
    sizes, out = parse_sizes(values.sizes), Path(values.output)
    entrants = unique([*of_zoo(values.networks), *(of_run(Path(root)) for root in values.workdir)])
    failures = measure_all(entrants, sizes, asked, out)
    print(write_survey(entrants, sizes, asked, out))
    if failures:
        raise UserError("; ".join(failures) + "; the same command tries again")


COMMAND = Command(__doc__ or "", define_flags, main, needed={"output": "name a folder for rows, table and plot"})


def run() -> None:
    """Entry point of the module."""
    COMMAND.start()


def parse_sizes(text: str) -> tuple[Size, ...]:
    """Heights and widths of WIDTHxHEIGHT,…, the smallest first; raises `UserError` for anything else."""
    found = [re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", part) for part in text.split(",")]
    if not all(found):
        raise UserError(f"--sizes is {text!r}: give WIDTHxHEIGHT, several joined by commas, such as 1024x512,512x256")
    sizes = {(int(match[2]), int(match[1])) for match in found if match}
    return tuple(sorted(sizes, key=lambda size: size[0] * size[1]))


def measure_all(entrants: Sequence[Entrant], sizes: Sequence[Size], asked: Protocol, out: Path) -> list[str]:
    """Measures what is missing, a child process for each network; what failed, and its last words."""
    failures = []
    with Progress(transient=True) as progress:
        task = progress.add_task("measuring", total=len(entrants))
        for entrant in entrants:
            progress.update(task, description=entrant.name)
            if missing(entrant, sizes, asked, out):
                try:
                    measure_in_child(Request(entrant.name, entrant.arch, tuple(sizes), asked, out))
                except UserError as error:
                    failures.append(str(error))
            progress.advance(task)
    return failures


def missing(entrant: Entrant, sizes: Sequence[Size], asked: Protocol, out: Path) -> list[Size]:
    """Sizes of which there is no row yet."""
    return [size for size in sizes if find_row(out, empty_row(entrant.name, entrant.arch, size, asked)) is None]


def write_survey(entrants: Sequence[Entrant], sizes: Sequence[Size], asked: Protocol, out: Path) -> Path:
    """Writes table and plot of what was measured of all sizes; returns the page."""
    done = [entrant for entrant in entrants if not missing(entrant, sizes, asked, out)]
    wanted = [empty_row(entrant.name, entrant.arch, size, asked) for entrant in done for size in sizes]
    rows = [row for row in (find_row(out, row) for row in wanted) if row is not None]
    survey = Survey(done, rows, rankings(done, rows))
    page = out / f"{asked.device}.md"
    write_text(page, markdown(survey))
    write_text(page.with_suffix(".csv"), as_csv(survey))
    write_json(page.with_suffix(".json"), as_json(survey))
    figure = plot_survey(points(survey))
    write_whole(page.with_suffix(".png"), functools.partial(figure.savefig, format="png", dpi=110))
    return page


def points(survey: Survey) -> dict[str, list[Point]]:
    """What is drawn: at each size, networks with a speed and a score on Cityscapes; runs with the score they have."""
    return {
        size_text(size): [
            point for entrant in survey.entrants for point in _points(entrant, survey.row(entrant.name, size))
        ]
        for size in survey.sizes
    }


def _points(entrant: Entrant, row: Row) -> list[Point]:
    score, published = entrant.score, entrant.published
    own = published.taxonomy == "own"
    if row.fps is None or score is None or not (own or score.data_set == "Cityscapes"):
        return []
    label = f"{published.title} ({score.data_set})" if own else published.title
    return [Point(label, TAXONOMY[published.taxonomy], row.fps, score.miou, score.split == "test")]


if __name__ == "__main__":
    run()
