import sys

import numpy as np
import pytest

from rtseg_jax import command_line, phase_names
from rtseg_jax.training.reporting import device_details
from rtseg_jax.visualization import plots, style, wording
from rtseg_jax.visualization.channel_plots import Rows, plot_channels, plot_widths

HISTORY = [
    {"phase": "pretrain", "step": 10, "losses": {"segmentation": 2.0, "auxiliary": 4.0}, "miou": 0.25},
    {"phase": "pretrain", "step": 20, "losses": {"segmentation": 1.5, "auxiliary": 3.0}, "miou": 0.5},
    {
        "phase": "search",
        "step": 10,
        "losses": {"segmentation": 1.0, "auxiliary": 0.0, "cost": 8.0},
        "cost": 20.0,
        "kept": {"head": [32, 64], "stem": [16, 16]},
        "paths": {"stage16_1": [0.2, 0.3, 0.5]},
    },
    {
        "phase": "search",
        "step": 30,
        "cost": 12.5,
        "kept": {"stem": [4, 16], "late": [8, 8]},
        "paths": {"stage16_1": [0.0, 0.1, 0.9], "stage8_1": [1.0, 0.0, 0.0]},
    },
]
PLOTS = {
    "results": lambda rows: plots.plot_results(rows, 12.0, "ms"),
    "miou": plots.plot_phase_miou,
    "cost": lambda rows: plots.plot_cost(rows, 12.0),
    "losses": plots.plot_losses,
    "channels": plot_channels,
    "paths": plots.plot_paths,
    "widths": lambda rows: plot_widths({}, {}, {}),
}


def curve(panel, number=0):
    return panel.get_lines()[number].get_xydata().tolist()


def texts(panel):
    return [text.get_text() for text in panel.texts]


def titles(figure):
    return [panel.get_title(loc="left") for panel in figure.axes]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def ticks(panel):
    return [label.get_text() for label in panel.get_yticklabels()]


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_nothing_is_drawn_of_nothing(plot):
    assert plot([]) is None


def test_losses_are_drawn_per_phase_without_those_that_a_phase_leaves_out():
    figure = plots.plot_losses(HISTORY)
    assert titles(figure) == ["segmentation", "auxiliary heads", "cost against its target"]
    assert curve(figure.axes[0]) == [[10, 2.0], [20, 1.5]]
    assert curve(figure.axes[0], 2) == [[30, 1.0]]
    assert curve(figure.axes[1]) == [[10, 4.0], [20, 3.0]]
    assert len(figure.axes[1].get_lines()) == 3  # as logged, smoothed, where the search begins
    assert legend_of(figure) == ["pretraining", "search"]


def test_smoothing_averages_windows():
    x, y = plots._smooth(range(100), [0.0, 4.0] * 50)
    assert (x[0], y[0]) == (1.5, 2.0)  # windows of four rows
    assert len(x) == len(y) == 25


def test_cost_is_drawn_with_target_and_decisions():
    (panel,) = plots.plot_cost(HISTORY, 12.0, "ms", [(10, "1\npaths decided"), (30, "2")]).axes
    assert curve(panel) == [[10, 20.0], [30, 12.5]]
    assert curve(panel, 1) == [[0, 12.0], [1, 12.0]]
    assert [curve(panel, number)[0][0] for number in (2, 3)] == [10, 30]
    assert texts(panel) == ["12.5 ms", "target 12.0 ms", "1\npaths decided", "2"]
    assert texts(plots.plot_cost(HISTORY, None).axes[0]) == ["12.5 ms"]
    assert panel.get_ylabel() == "predicted latency (ms)"
    assert plots.plot_cost(HISTORY, 12.0, "GMACs").axes[0].get_ylabel() == "predicted cost (GMACs)"


def test_channels_are_shares_by_part_in_the_order_given():
    figure = plot_channels(HISTORY, ["stem", "other", "head"])
    mesh = figure.axes[0].collections[0]
    # A row for the name of each part; a gap where nothing was recorded.
    expected = np.ma.masked_invalid([[np.nan] * 2, [1.0, 0.25], [np.nan] * 2, [0.5, np.nan]])
    np.testing.assert_array_equal(mesh.get_array().filled(-1), expected.filled(-1))
    assert ticks(figure.axes[0]) == ["Stem", "output", "Head", "output"]
    assert ticks(plot_channels(HISTORY).axes[0]) == ["Head", "output", "Stem", "output", "Late", "output"]


def test_rows_of_a_part_stand_below_its_name():
    rows = Rows.of(["stem.conv", "stem.fuse", "head.conv"])
    assert rows.groups == {"stem.conv": 1, "stem.fuse": 2, "head.conv": 4}
    assert rows.parts == [(0, "Stem"), (3, "Head")]
    assert len(rows) == 5


def test_widths_show_what_is_left_beside_uniform_scaling_and_worth():
    reasons = {"first": {"stem": {"lost": 0.125}}, "last": {"stem": {"lost": 0.5}, "head": {"lost": None}}}
    widths, sizes = {"stem": 4, "head": 48}, {"stem": 16, "head": 64}
    left, right = plot_widths(widths, sizes, {"stem": 8}, reasons, "modelled ms").axes
    assert [bar.get_width() for bar in left.patches] == [1.0, 0.25, 1.0, 0.75]
    assert texts(left) == ["4 of 16", "48 of 64"]
    assert [x for x, _ in curve(left)] == [0.5, 0.5]
    assert curve(right) == [[0.125, 1], [0.5, 1]]
    assert [dots.get_offsets().tolist() for dots in right.collections] == [[[0.125, 1.0]], [[0.5, 1.0]]]
    assert right.get_xlabel() == "loss saved per modelled ms"
    assert len(plot_widths(widths, sizes, {}).axes) == 1  # widths without reasons


def test_paths_stack_to_one_in_the_order_of_the_network():
    figure = plots.plot_paths(HISTORY, marks=[(20, "paths frozen")])
    assert titles(figure) == ["Stage 1/8, block 1: nothing", "Stage 1/16, block 1: MHSA"]
    skip, lir, mhsa = figure.axes[1].collections
    assert [max(area.get_paths()[0].vertices[:, 1]) for area in (skip, lir, mhsa)] == pytest.approx([0.2, 0.5, 1.0])
    assert curve(figure.axes[1])[0][0] == 20
    assert legend_of(figure) == ["nothing", "LIR", "MHSA"]
    assert figure.get_suptitle() == "dotted: paths frozen"


def test_miou_is_in_percent_with_the_last_value():
    (panel,) = plots.plot_phase_miou(HISTORY).axes
    assert curve(panel) == [[10, 25.0], [20, 50.0]]
    assert texts(panel) == ["50.0"]
    assert plots.plot_phase_miou(HISTORY[:1]) is None  # the table has it


def test_results_have_labels_at_points_and_lines():
    def row(name, miou, ms):
        return {"name": name, "miou": miou, "latency_ms": ms}

    rows = [row("searched, sliced", 0.1, 12.34), row("searched", 0.712, 12.34), row("bisenetv2", None, 100.0)]
    (panel,) = plots.plot_results(rows, 13.0, "ms").axes
    assert panel.collections[0].get_offsets().tolist() == [[12.34, pytest.approx(71.2)]]
    assert len(panel.collections) == 1  # what was not trained to its end is no result
    assert texts(panel) == ["BiSeNetV2\n100 ms", "target\n13.0 ms", "Searched\n71.2 %, 12.3 ms"]
    assert panel.get_xlabel() == "latency (ms, logarithmic)"
    assert panel.get_ylim() == pytest.approx((66.2, 76.2))
    assert plots.plot_results([rows[1]], None, "ms").axes[0].get_xlim()[0] == 0


def test_labels_keep_their_distance_and_their_order():
    assert style.spread_out([3.0, 1.0, 2.0], 1.0) == [3.0, 1.0, 2.0]
    assert style.spread_out([5.0, 5.2], 1.0) == pytest.approx([4.6, 5.6])  # about their middle
    assert style.spread_out([0.0, 1.1, 1.0, 9.0], 1.0) == pytest.approx([-0.3, 1.7, 0.7, 9.0])
    assert style.spread_out([], 1.0) == []


def contrast(color, paper):
    """By WCAG 2: lighter luminance over darker one."""

    def luminance(text):
        shares = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    both = sorted((luminance(color), luminance(paper)))
    return (both[1] + 0.05) / (both[0] + 0.05)


@pytest.mark.parametrize("look", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_colours_can_be_seen_on_their_paper(look):
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)  # the well-known grey
    assert min(contrast(look.ink, paper) for paper in (look.paper, look.desk)) > 12
    assert min(contrast(look.faint, paper) for paper in (look.paper, look.desk)) > 4.5
    assert contrast(look.blue, look.paper) > 4.5  # also of text
    for color in (look.orange, look.green, look.purple, look.yellow, look.sky, look.grey):
        assert contrast(color, look.paper) > 3  # of marks, by the same rule


def test_figures_are_rounded():
    assert [wording.three_digits(x) for x in (None, 2.9732, 29.039, 104.0, 999.4, 999.6, 12345.6, 0.042)] == [
        *("–", "2.97", "29.0", "104", "999", "1,000", "12,346", "0.0420")
    ]
    assert [wording.percent(x) for x in (None, 0.3716, 1.0)] == ["–", "37.2 %", "100.0 %"]
    assert [wording.points(x) for x in (0.00792, -0.012, 0.0, -0.0001)] == ["+0.8", "−1.2", "0.0", "0.0"]
    assert [wording.millions(x) for x in (None, 344171, 24430000)] == ["–", "0.344 M", "24.43 M"]
    assert [wording.duration(x) for x in (8.4, 88.0, 3599.6, 7500.0)] == ["8 s", "1 min 28 s", "1 h 0 min", "2 h 5 min"]


def test_groups_have_names_for_people():
    names = {
        "detail_1_2": ("Detail branch", "convolution 1.2"),
        "stem.left_1": ("Stem", "left 1"),
        "stage8": ("Stage 1/8", "output"),
        "stage16_down.expand": ("Stage 1/16", "downsampling, expansion"),
        "stage32_2_lir.conv": ("Stage 1/32", "LIR 2, convolution"),
        "stage8_1_mhsa.heads": ("Stage 1/8", "MHSA 1, heads"),
        "stage8_1": ("Stage 1/8", "block 1"),
        "context": ("Context embedding", "output"),
        "fire3.squeeze": ("Fire3", "squeeze"),
        "": ("", "output"),
    }
    assert {name: (wording.part_of(name), wording.within_part(name)) for name in names} == names


def test_everything_that_has_a_name_has_one_for_people():
    assert set(wording.PHASES) == set(phase_names.PHASES)


def test_a_device_is_told_by_its_card():
    card = {"device": "Chip", "runtime": "LiteRT", "precision": "float32", "threads": 2, "statistic": "minimum"}
    assert device_details(card) == ["Chip", "LiteRT", "float32", "2 threads", "minimum"]
    assert device_details({}) == []


def test_the_command_is_as_one_types_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/rtseg_jax", "--config=a b.py"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert command_line.typed_command() == "rtseg_jax '--config=a b.py'"
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", sys.modules["rtseg_jax.command_line"].__spec__)
    assert command_line.typed_command() == "python -m rtseg_jax.command_line '--config=a b.py'"
