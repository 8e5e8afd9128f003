import json

import numpy as np
import pytest
from PIL import Image

from rtseg_jax.visualization import plots
from rtseg_jax.visualization.history import read_history, timeline
from rtseg_jax.visualization.report import write_report

HISTORY = [
    {"phase": "pretrain", "step": 10, "losses": {"segmentation": 2.0, "auxiliary": 4.0}, "miou": 0.25},
    {"phase": "pretrain", "step": 20, "losses": {"segmentation": 1.5, "auxiliary": 3.0}, "miou": 0.5},
    {
        "phase": "search",
        "step": 10,
        "losses": {"segmentation": 1.0, "latency": 8.0},
        "latency_ms": 20.0,
        "kept": {"stem": [16, 16], "out": [32, 64]},
        "paths": {"mixed0": [0.2, 0.3, 0.5]},
    },
    {
        "phase": "search",
        "step": 30,
        "latency_ms": 12.5,
        "kept": {"stem": [4, 16], "late": [8, 8]},
        "paths": {"mixed0": [0.0, 0.1, 0.9], "mixed1": [1.0, 0.0, 0.0]},
    },
]
PLOTS = {
    "results.png": plots.plot_results_table,
    "miou.png": plots.plot_phase_miou,
    "latency.png": lambda history: plots.plot_latency(history, 12.0),
    "losses.png": plots.plot_losses,
    "channels.png": plots.plot_channels,
    "paths.png": plots.plot_paths,
}


def curve(panel, number=0):
    return panel.get_lines()[number].get_xydata().tolist()


def texts(figure):
    return [text.get_text() for text in figure.texts]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_history_reads_whole_lines_only(tmp_path):
    path = tmp_path / "history.jsonl"
    assert read_history(path) == []
    write_lines(path, HISTORY)
    with path.open("a") as file:
        file.write('{"phase": "sea')
    assert read_history(path) == HISTORY


def test_timeline_puts_phases_one_after_the_other():
    line = timeline(HISTORY)
    assert [x for x, _ in line.points] == [10, 20, 30, 50]
    assert line.spans == {"pretrain": (0, 20), "search": (20, 50)}
    assert line.series("losses", "segmentation") == ([10, 20, 30], [2.0, 1.5, 1.0])
    assert line.series("losses", "segmentation", phase="search") == ([30], [1.0])
    assert line.names("losses") == ["segmentation", "auxiliary", "latency"]


def test_timeline_after_a_resume_holds_the_later_value():
    rows = [{"phase": "search", "step": step, "latency_ms": ms} for step, ms in [(1, 9.0), (2, 8.0), (1, 5.0)]]
    rows.append({"phase": "search", "step": 2, "miou": 0.5})  # joined with the training row of the same step
    line = timeline(rows)
    assert line.series("latency_ms") == ([1, 2], [5.0, 8.0])
    assert line.series("miou") == ([2], [0.5])


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_an_empty_history_says_so(plot):
    (text,) = texts(plot([]))
    assert text.startswith("No ")


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
@pytest.mark.parametrize("rows", [HISTORY[:1], HISTORY[2:3], [{"phase": "evaluate", "step": 0, "miou": 0.5}]])
def test_a_single_row_can_be_drawn(plot, rows):
    figure = plot(rows)
    figure.canvas.draw()
    assert figure.axes or texts(figure)


def test_losses_are_drawn_per_phase():
    figure = plots.plot_losses(HISTORY)
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["segmentation", "auxiliary", "latency"]
    assert curve(figure.axes[0]) == [[10, 2.0], [20, 1.5]]
    assert curve(figure.axes[0], 2) == [[30, 1.0]]
    assert legend_of(figure) == ["pretrain", "search"]


def test_smoothing_averages_windows():
    x, y = plots._smooth(range(100), [0.0, 4.0] * 50)
    assert (x[0], y[0]) == (1.5, 2.0)  # windows of four rows
    assert len(x) == len(y) == 25


def test_latency_is_drawn_with_its_target():
    figure = plots.plot_latency(HISTORY, 12.0)
    assert curve(figure.axes[0]) == [[30, 20.0], [50, 12.5]]
    assert legend_of(figure) == ["search", "target 12 ms"]
    assert legend_of(plots.plot_latency(HISTORY, None)) == ["search"]


def test_channels_are_shares_with_gaps_where_nothing_was_recorded():
    figure = plots.plot_channels(HISTORY)
    mesh = figure.axes[0].collections[0]
    expected = np.ma.masked_invalid([[1.0, 0.25], [0.5, np.nan], [np.nan, 1.0]])
    np.testing.assert_array_equal(mesh.get_array().filled(-1), expected.filled(-1))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["stem  4/16", "out  32/64", "late  8/8"]


def test_paths_stack_to_one():
    figure = plots.plot_paths(HISTORY)
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["mixed0", "mixed1"]
    skip, lir, mhsa = figure.axes[0].collections
    assert max(mhsa.get_paths()[0].vertices[:, 1]) == pytest.approx(1.0)
    assert max(lir.get_paths()[0].vertices[:, 1]) == pytest.approx(0.5)
    assert max(skip.get_paths()[0].vertices[:, 1]) == pytest.approx(0.2)
    assert legend_of(figure) == ["skip", "LIR", "MHSA"]


def test_miou_is_in_percent_with_the_last_value():
    figure = plots.plot_phase_miou(HISTORY)
    assert curve(figure.axes[0]) == [[10, 25.0], [20, 50.0]]
    assert [text.get_text() for text in figure.axes[0].texts] == ["50.0"]


def test_results_are_named_with_both_numbers():
    rows = [{"name": "a", "miou": 0.712, "latency_ms": 12.34}, {"name": "not measured", "miou": 0.7}]
    figure = plots.plot_results_table(rows)
    assert legend_of(figure) == ["a: 71.2 %, 12.3 ms"]
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[12.34, pytest.approx(71.2)]]


def test_report_writes_page_plots_and_pictures(tmp_path):
    write_lines(tmp_path / "history.jsonl", HISTORY)
    results = [{"name": "<b>", "miou": 0.5, "latency_ms": 12.0, "parameters": 1234567}, {"name": "other"}]
    pictures = {"Street 1": Image.new("RGB", (8, 8), (1, 2, 3))}
    page = write_report(tmp_path / "report", tmp_path / "history.jsonl", results, pictures, target_ms=12.0)
    files = {path.name for path in page.parent.iterdir()}
    assert files == {"index.html", "picture_00_street_1.png", *PLOTS}
    text = page.read_text()
    assert "<td>&lt;b&gt;</td><td>50.0 %</td><td>12</td><td>1,234,567</td>" in text
    assert "<td>other</td><td>–</td>" in text
    assert all(f'src="{name}"' in text for name in files - {"index.html"})
    with Image.open(page.parent / "picture_00_street_1.png") as picture:
        assert picture.getpixel((0, 0)) == (1, 2, 3)


def test_report_of_a_run_that_has_not_begun(tmp_path):
    page = write_report(tmp_path, tmp_path / "none.jsonl", [], {})
    assert "No results yet" in page.read_text()
    assert set(PLOTS) < {path.name for path in page.parent.iterdir()}
