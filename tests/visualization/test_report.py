import copy
import json
import re

import numpy as np
import pytest
from helpers import browser
from PIL import Image

from rtseg_jax.visualization import style
from rtseg_jax.visualization.document import Code, html_table
from rtseg_jax.visualization.examples import Example, read_examples, write_examples
from rtseg_jax.visualization.history import read_history, timeline
from rtseg_jax.visualization.report import RunStory, run_document, write_report

HISTORY = [
    {"phase": "pretrain", "step": 10, "losses": {"segmentation": 2.0}, "miou": 0.25},
    {
        "phase": "search",
        "step": 10,
        "losses": {"segmentation": 1.0},
        "cost": 20.0,
        "kept": {"head.conv": [64, 64], "stem.conv": [16, 16], "other": [8, 8]},
        "paths": {"stage16_1": [0.2, 0.3, 0.5]},
    },
    {
        "phase": "search",
        "step": 20,
        "cost": 15.0,
        "kept": {"head.conv": [64, 64], "stem.conv": [16, 16], "other": [8, 8]},
        "paths": {"stage16_1": [0.0, 0.1, 0.9]},
    },
]
SEARCH = {
    "sliced_miou": 0.2,
    "predicted_cost": 12.4,
    "paths": {"stage16_1": "mhsa"},
    "widths": {"stem.conv": 16, "head.conv": 32},
    "steps": 20,
    "seconds": 100.0,
}
REASONS = {
    "first": {"stem.conv": {"width": 16, "size": 16, "lost": 0.1, "gained": None}},
    "last": {
        "stem.conv": {"width": 16, "size": 16, "lost": 0.2, "gained": None},
        "head.conv": {"width": 32, "size": 64, "lost": 0.2, "gained": 0.1},
    },
}


def network(name, miou, ms, predicted=None):
    costs = {"parameters": 344_171, "gmacs": 0.102957, "noise": 0.05}
    interval = predicted and [0.9 * predicted, 1.1 * predicted]
    return {"name": name, "miou": miou, **costs, "predicted_cost": predicted, "predicted_interval": interval} | {
        "latency_ms": ms
    }


NAME = "<b>|Wall_*"  # of a class
RESULTS = {
    "seed": 7,
    "command": "python -m rtseg_jax.main --config=<mine>.py",
    "devices": ["cpu: cpu", "cpu: cpu"],
    "provenance": {"commit": "0123abc", "versions": {"jax": "0.9.2"}, "python": "3.11.7"},
    "config": {
        "data": {"name": "synthetic_streets", "eval_size": [64, 128]},
        "train": {"search_steps": 20},
        "latency": {"precision": "float32"},
        "search": {"rule": "worth", "rounds": 2, "freeze_paths": 0.7},
    },
    "choice": {"best": "searched", "among": ["searched", "uniform"]},
    "phases": {
        "pretrain": {"miou": 0.25, "steps": 10, "seconds": 65.4},
        "search": SEARCH,
        "evaluate": {
            "network": "RTSeg",
            "date": "2026-11-05",
            "device": {"title": "CPU of the host", "details": ["Some <CPU>", "1 thread"]},
            "data": {"title": "drawn streets", "classes": 2, "training": 1360, "held_out": 40, "validation": 50},
            "table": [
                network("supernet", None, 48.04, 50.0),
                network("searched, sliced", 0.2, 12.345, 12.4),
                network("searched", 0.37166, 12.345, 12.4),
                network("uniform", 0.36375, 12.51, 12.399),
                network("bisenetv2", None, 129.04),
            ],
            "classes": {
                "searched": {"iou": {NAME: 0.4, "Sky": 0.34332}},
                "uniform": {"iou": {NAME: 0.4128, "Sky": None}},
            },
            "target_cost": 12.41234,
            "cost_unit": "ms",
            "verdict": "The search beats uniform scaling by 0.8 points of mIoU. Handed over: the searched network.",
            "seconds": 3600.0,
        },
        "export": {
            "file": "model.tflite",
            "size": 1_456_471,
            "architecture": "448cec1af0ae",
            "export": {"size": [64, 128], "head": "logits", "input": "float", "quantize": "none"},
            "cpu": {"pictures": 8, "pixel_agreement": 0.99996},
            "gpu": None,
            "gpu_verdict": "untested",
            "latency_ms": 3.7229,
            "miou": 0.379,
            "jax_miou": 0.3791,
            "pictures": 16,
            "failures": [],
            "seconds": 8.0,
        },
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report with pictures, on coarse paper: what is tested is what it says."""
    folder = tmp_path_factory.mktemp("report")
    image = np.full((8, 16, 3), 200, np.uint8)
    truth, found = np.zeros((8, 16), np.uint8), np.zeros((8, 16), np.uint8)
    truth[:, :4], found[:, :8] = 1, 1
    examples = {"Picture <1>": Example(image, truth, found)}
    shown = write_examples(folder, examples, (NAME, "Sky"), ((1, 2, 3), (250, 0, 0)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 40)
        write_report(folder, story(examples=shown))
    return folder


def story(results=RESULTS, **changes):
    fields = {"reasons": REASONS, "search": SEARCH, "uniform": {"stem.conv": 8}}
    return RunStory(results, HISTORY, **(fields | changes))


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def told(folder):
    return (folder / "report.md").read_text()


def test_history_reads_whole_lines_only(tmp_path):
    path = tmp_path / "history.jsonl"
    assert read_history(path) == []
    path.write_text("".join(json.dumps(row) + "\n" for row in HISTORY) + '{"phase": "sea')
    assert read_history(path) == HISTORY


def test_timeline_puts_phases_one_after_the_other():
    line = timeline(HISTORY)
    assert [x for x, _ in line.points] == [10, 20, 30]
    assert line.spans == {"pretrain": (0, 10), "search": (10, 30)}
    assert line.series("losses", "segmentation") == ([10, 20], [2.0, 1.0])
    assert line.series("losses", "segmentation", phase="search") == ([20], [1.0])


def test_timeline_after_a_resume_holds_the_later_value():
    rows = [{"phase": "search", "step": step, "cost": ms} for step, ms in [(1, 9.0), (2, 8.0), (1, 5.0)]]
    rows.append({"phase": "search", "step": 2, "miou": 0.5})  # joined with the training row of the same step
    line = timeline(rows)
    assert line.series("cost") == ([1, 2], [5.0, 8.0])
    assert line.series("miou") == ([2], [0.5])


TABLES = [
    "| Supernet | – | 0.344 M | 0.103 | 50.0 (45.0 to 55.0) | 48.0 |",
    "| **Searched** | **37.2 %** | **0.344 M** | **0.103** | **12.4 (11.2 to 13.6)** | **12.3** |",
    "| Uniform scaling | 36.4 % | 0.344 M | 0.103 | 12.4 (11.2 to 13.6) | 12.5 |",
    "| BiSeNetV2 | – | 0.344 M | 0.103 | – | 129 |",
    r"| \<b\>\|Wall\_\* | 40.0 % | 41.3 % | −1.3 |",
    "| Sky | 34.3 % | – | – |",
    "| Pretraining | 10 | 25.0 % | 1 min 5 s |",
    "| Search | 20 | 20.0 % | 1 min 40 s |",
    "| Evaluation | – | – | 1 h 0 min |",
]


@pytest.mark.parametrize("line", TABLES)
def test_figures_are_those_of_the_results_rounded(told, page, line):
    assert line in told.splitlines()
    cells = [
        re.sub(r"\\(.)", r"\1", cell.removeprefix("**").removesuffix("**"))
        for cell in re.split(r" ?(?<!\\)\| ?", line)[1:-1]
    ]
    assert html_table((), [cells]).splitlines()[2].partition(">")[2] in page


def test_top_says_what_won_on_what_and_when(told):
    top = told.partition("\n## ")[0].splitlines()
    assert top[0] == "# RTSeg on drawn streets"
    assert "> **The search beats uniform scaling by 0.8 points of mIoU.**" in top
    assert "> Searched: 37.2 % at 12.3 ms. Uniform scaling: 36.4 % at 12.5 ms." in top
    assert "- Latency: **12.3 ms** target 12.4 ms" in top
    assert "- File: **1.46 MB** model.tflite" in top
    assert (
        "- **Data set**: drawn streets: 2 classes, 1,360 training pictures, 40 held out, 50 validation pictures" in top
    )
    assert r"- **Timed on**: CPU of the host, Some \<CPU\>, 1 thread" in top
    assert "- **Trained on**: 2 × CPU" in top
    assert "- **Date**: 5 November 2026; 1 h 2 min of work" in top  # 65.4 + 100 + 3600 + 8 s
    assert top[-3:] == ["```", "python -m rtseg_jax.main --config=<mine>.py", "```"]


def test_end_says_what_was_chosen_and_exported(told):
    assert "Paths that were chosen: Stage 1/16, block 1: MHSA." in told
    assert "- **On the CPU**: 100.00 % of pixels are the same as in JAX, on 8 pictures" in told
    assert "On the GPU" not in told
    assert "\ndata.eval_size = (64, 128)\n" in told


def test_a_network_that_was_trained_as_it_is_has_no_search_in_its_report():
    results = copy.deepcopy(RESULTS)
    outcome = results["phases"]["evaluate"]
    results["choice"]["best"], outcome["target_cost"] = "trained", None
    outcome["table"] = [network("trained", 0.5, 4.0), network("bisenetv2", None, 29.0)]
    outcome["classes"] = {"trained": {"iou": {"Sky": 0.5}}}
    del results["phases"]["search"], results["phases"]["export"], results["command"]
    told = run_document(story(results, search=None, reasons=None, uniform={}), ["results"]).markdown()
    assert "> **50.0 % mIoU at 4.00 ms.**" in told
    assert "| Network | mIoU | Parameters | GMACs | Measured ms |" in told
    assert "| Class | Trained as it is, IoU |" in told
    headings = re.findall("^## (.*)$", told, re.MULTILINE)
    assert headings == ["Accuracy and latency", "Classes", "Training", "Paths, config and versions"]
    assert "Target" not in told


def test_markdown_refers_to_files_that_exist(folder, told):
    files = re.findall(r"!\[[^]\n]+\]\(([^)]*)\)", told)
    assert files == [
        "results.png",
        "picture_00.png",
        "cost.png",
        "paths.png",
        "channels.png",
        "worth.png",
        "losses.png",
    ]
    for name in files:
        with Image.open(folder / name) as picture:
            assert picture.width > 100
    assert not (folder / "miou.png").exists()  # one value per phase is in the table


def test_page_holds_all_that_it_shows(page):
    sources = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert len(sources) == 2 * 6 + 4 + 1  # figures for light and dark paper, panels, an icon that is none
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"<script|@import|url\(", page)
    assert all(alt for alt in re.findall(r'<img [^>]*alt="([^"]*)"', page))
    assert page.count("<img ") == len(re.findall(r"<img [^>]*alt=", page)) == 10


def test_headings_are_in_order(page, told):
    levels = re.findall(r"<h(\d)>", page)
    assert levels == ["1", *"22222222"]
    titles = [text for _, text in re.findall(r"<h(\d)>(.*?)</h\1>", page)]
    assert titles == re.findall(r"^##? (.*)$", told, re.MULTILINE)


def test_names_are_escaped(page):
    assert "<b>" not in page
    assert "&lt;b&gt;|Wall_*" in page
    assert "Some &lt;CPU&gt;" in page
    assert "--config=&lt;mine&gt;.py" in page
    assert "Picture &lt;1&gt;" in page


def test_code_is_fenced_whatever_it_holds():
    assert Code("a\nb").markdown() == "```\na\nb\n```"
    assert Code("a ```` b").markdown() == "`````\na ```` b\n`````"


def test_examples_have_panels_and_shares(folder, page):
    (example,) = read_examples(folder)
    assert [title for title, _ in example.panels] == ["image", "truth", "prediction", "wrong pixels: 25.0 %"]
    assert [entry.text for entry in example.legend] == [f"{NAME}  75.0 | 50.0 %", "Sky  25.0 | 50.0 %"]
    with Image.open(folder / example.panels[0][1]) as panel:
        assert panel.size == (16, 8)
    assert '<span style="background:#fa0000"></span>Sky' in page


def test_an_earlier_reports_files_do_not_stay(folder, tmp_path):
    for name in ("worth.png", "worth_dark.png", "picture_07.png"):
        (tmp_path / name).touch()
    assert write_examples(tmp_path, {}, (), ()) == read_examples(tmp_path) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 40)
        results = copy.deepcopy(RESULTS)
        del results["phases"]["search"]
        write_report(tmp_path, RunStory(results, []))
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"report.html", "report.md", "results.png", "results_dark.png", "examples.json"}


@browser.needed
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_in_a_browser_on_a_phone(folder, dark):
    """No message, nothing wider than the screen, and every text readable: WCAG asks for a contrast of 4.5."""
    found = browser.look_at(folder / "report.html", width=360, dark=dark)
    assert found.messages == []
    assert found.width == 360
    assert found.too_wide == []
    assert found.texts > 100
    assert found.faint == []
    assert found.pictures_shown == found.pictures == 10
    assert found.background == (style.DARK if dark else style.LIGHT).desk
