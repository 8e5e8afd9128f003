"""What is said of a workdir, against files written by hand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from rtseg_jax import show as module
from rtseg_jax.architecture import ArchSpec, declare
from rtseg_jax.errors import UserError
from rtseg_jax.show import read_run, show
from rtseg_jax.training.checkpoint_files import kept_checkpoints, weights_provenance
from rtseg_jax.training.workdir import Workdir, config_digest, differing_fields, differing_values, is_free
from rtseg_jax.visualization.sparkline import sparkline
from rtseg_jax.zoo import BiSeNetV2, RTSeg

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ORIGIN = {"commit": f"{COMMIT}-dirty", "versions": {"rtseg_jax": "0.1.0", "jax": "0.9.2"}, "config": "ab12ab12ab12"}
CONFIG = {
    "model": "rtseg",
    "seed": 3,
    "phases": [],
    "data": {"name": "camvid", "eval_size": [352, 480], "data_dir": "/a"},
    "train": {"pretrain_steps": 4, "log_every": 2},
}
ROW = {
    "name": "searched",
    "miou": 0.5234,
    "parameters": 328_000,
    "gmacs": 0.097,
    "predicted_cost": 2.5,
    "predicted_interval": [2.0, 3.0],
    "latency_ms": 2.72,
    "latency_unit": "ms",
}
RESULTS = {
    "provenance": ORIGIN,
    "devices": ["cpu: cpu"],
    "phases": {
        "pretrain": {"miou": 0.25, "steps": 4, "seconds": 90.0, "provenance": ORIGIN},
        "search": {"sliced_miou": 0.125, "seconds": 30.0},
        "evaluate": {
            "table": [ROW],
            "target_cost": 2.56,
            "verdict": "The search beats uniform scaling.",
            "seconds": 6.0,
        },
    },
}
HISTORY = [
    {"phase": "pretrain", "step": 2, "losses": {"total": 4.0}, "steps_per_second": 1.0},
    {"phase": "pretrain", "step": 4, "losses": {"total": 2.0}, "steps_per_second": 3.0, "miou": 0.25},
    {"phase": "search", "step": 4, "losses": {"total": 1.0}, "cost": 5.0, "kept": {"a": [3, 4], "b": [1, 4]}},
]


def write_run(root, config=CONFIG, results=RESULTS):
    root.mkdir()
    (root / "config.json").write_text(json.dumps(config))
    if results is not None:
        (root / "results.json").write_text(json.dumps(results))
    return root


@pytest.fixture
def run(tmp_path):
    root = write_run(tmp_path / "run")
    (root / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in HISTORY))
    for step, size in ((2, 1_000_000), (4, 500_000)):
        folder = root / "checkpoints" / "finetune" / str(step)
        (folder / "default").mkdir(parents=True)
        (folder / "default" / "array").write_bytes(bytes(size))
        (folder / "_CHECKPOINT_METADATA").write_text(json.dumps({"custom_metadata": {"provenance": ORIGIN}}))
    (root / "checkpoints" / "finetune" / "6").mkdir()  # is being written
    ArchSpec(BiSeNetV2(11), {}, {}).save(root / "architecture.json", ORIGIN)
    return root


def text(root, against=None):
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        show(console, str(root), None if against is None else str(against))
    return capture.get()


def cells(text, name, after=""):
    """Cells of the first row called `name` below the title `after`."""
    below = text[text.index(after) :]
    (line, *_) = (line for line in below.splitlines() if re.match(rf"│ {re.escape(name)} +│", line))
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_phases_scores_times_and_commits(run):
    shown = text(run)
    assert "rtseg on camvid at 352×480, seed 3" in shown.splitlines()[0]
    assert cells(shown, "pretrain") == ["done", "4", "25.0", "1.5", "0123456789ab-dirty"]
    assert cells(shown, "search") == ["done", "4", "12.5", "0.5", "–"]  # its steps stand in the history alone
    assert cells(shown, "finetune") == ["not finished", "4", "–", "–", "–"]  # by its checkpoint
    assert cells(shown, "uniform") == ["–"] * 5
    assert cells(shown, "searched") == ["52.3", "0.328", "0.097", "2.50 ±20 %", "2.72"]
    assert "Target 2.56 ms" in shown
    assert "The search beats uniform scaling." in shown


def test_files_in_other_numbers_stand_beside_their_networks(tmp_path):
    rows = [ROW | {"float32_miou": 0.53}, ROW | {"name": "supernet", "miou": None}]
    evaluated = {**RESULTS["phases"]["evaluate"], "table": rows}
    shown = text(write_run(tmp_path / "int8", results={"phases": {"evaluate": evaluated}}))
    assert "in float32 %" in shown
    assert cells(shown, "searched")[:2] == ["52.3", "53.0"]
    assert cells(shown, "supernet")[:2] == ["–", "–"]


def test_where_it_comes_from(run):
    line = "made by: rtseg_jax 0.1.0, commit 0123456789ab-dirty, config ab12ab12ab12; jax 0.9.2; cpu: cpu"
    assert line in text(run)
    assert cells(text(run), "architecture.json")[1:] == [
        f"bisenetv2, digest {ArchSpec(BiSeNetV2(11), {}, {}).digest}",
        "0123456789ab-dirty",
    ]


def test_curves(run):
    shown = text(run)
    # 4 steps each: 13 characters. The loss falls from 4 (full block) to 2 (a third of the way from 1 to 4) to 1.
    line, *figures = cells(shown, "loss")
    pretrain, search = line.rjust(27)[:13], line.rjust(27)[14:]
    assert pretrain.strip()[0] == "█"
    assert pretrain[-1] == "▃"
    assert search.strip() == "▁"
    assert figures == ["4.000", "1.000", "1.000–4.000"]
    assert cells(shown, "channels %")[1:] == ["50.0", "50.0", "50.0–50.0"]
    assert cells(shown, "mIoU %")[1:] == ["25.0", "25.0", "25.0–25.0"]
    assert cells(shown, "latency ms")[1:] == ["5.00", "5.00", "5.00–5.00"]


def test_costs_have_the_unit_of_their_run(tmp_path):
    predicted = {"predicted_cost": 0.5, "predicted_interval": [0.4, 0.6], "cost_unit": "GMACs"}
    evaluated = {"table": [ROW | predicted], "target_cost": 0.6, "cost_unit": "GMACs"}
    root = write_run(tmp_path / "budget", results={"phases": {"evaluate": evaluated}})
    row = {"phase": "search", "step": 4, "cost": 0.55, "cost_unit": "GMACs", "kept": {"a": [3, 4]}}
    (root / "history.jsonl").write_text(json.dumps(row) + "\n")
    shown = text(root)
    assert cells(shown, "cost GMACs")[1:] == ["0.55", "0.55", "0.55–0.55"]
    assert "Target 0.60 GMACs" in shown
    assert "predicted GMACs" in " ".join(shown.split())


def test_files_that_called_every_cost_milliseconds(run, tmp_path):
    """Of an earlier version: shown like those of now."""
    names = {"predicted_cost": "predicted_ms", "predicted_interval": "predicted_interval_ms"}
    row = {names.get(name, name): value for name, value in ROW.items() if name != "latency_unit"}
    evaluated = {**RESULTS["phases"]["evaluate"], "table": [row], "target_ms": 2.56}
    del evaluated["target_cost"]
    root = write_run(tmp_path / "old", results={**RESULTS, "phases": {**RESULTS["phases"], "evaluate": evaluated}})
    history = [{("latency_ms" if name == "cost" else name): value for name, value in row.items()} for row in HISTORY]
    (root / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    old, new = text(root), text(run)
    for name in ("searched", "latency ms"):
        assert cells(old, name) == cells(new, name)
    assert Workdir(root).results()["phases"]["evaluate"]["target_cost"] == 2.56


def test_a_column_is_the_mean_of_what_falls_into_it_or_lies_between():
    points = [(1, 0.0), (2, 4.0), (3, 8.0), (4, 8.0), (8, 0.0)]
    # columns (0, 2], (2, 4], (4, 6], (6, 8]: means 2 and 8, at 5 on the line from (4, 8) to (8, 0): 6, and 0
    assert sparkline(points, (0, 8), 4, (0.0, 8.0)) == "▃█▇▁"
    assert sparkline([(5, 1.0)], (0, 8), 4, (0.0, 1.0)) == "  █ "
    assert sparkline([(1, float("nan")), (3, 7.0)], (0, 4), 2, (7.0, 7.0)) == " █"


def test_checkpoints_and_their_sizes(run):
    shown = text(run)
    metadata = (run / "checkpoints" / "finetune" / "2" / "_CHECKPOINT_METADATA").stat().st_size
    assert cells(shown, "finetune", "Checkpoints") == ["2, 4", "1.5", "0123456789ab-dirty"]
    kept = kept_checkpoints(run / "checkpoints" / "finetune")
    assert [(entry.step, entry.size) for entry in kept] == [(2, 1_000_000 + metadata), (4, 500_000 + metadata)]


def test_a_run_that_just_began_and_files_of_before(tmp_path):
    root = write_run(tmp_path / "new", results=None)
    assert cells(text(root), "pretrain") == ["–"] * 5
    assert "made by: not recorded" in text(root)
    (root / "results.json").write_text(json.dumps({"versions": {"rtseg_jax": "0.1.0", "jax": "0.9.0"}, "phases": {}}))
    assert "made by: not recorded; jax 0.9.0" in text(root)
    ArchSpec(BiSeNetV2(11), {}, {}).save(root / "searched.json")
    (root / "model.tflite").write_bytes(b"TFL3 without metadata")
    assert cells(text(root), "searched.json")[-1] == "–"
    assert cells(text(root), "model.tflite")[1:] == ["damaged, or of another version", "–"]
    old = root / "checkpoints" / "best_variables" / "0"
    old.mkdir(parents=True)
    (old / "_CHECKPOINT_METADATA").write_text('{"custom_metadata": {}}')
    assert weights_provenance(old.parent) is None
    assert cells(text(root), "best_variables") == ["0", "0.0", "–"]


def test_differences_to_another_run(run, tmp_path):
    config = CONFIG | {"seed": 4, "data": CONFIG["data"] | {"data_dir": "/b"}, "budget": "gmacs:5"}
    results = {"phases": {"evaluate": {"table": [ROW | {"miou": 0.5, "latency_ms": 3.0}], "target_cost": 2.5}}}
    shown = text(run, write_run(tmp_path / "other", config, results))
    assert cells(shown, "seed") == ["3", "4", ""]
    assert cells(shown, "budget") == ["None", "'gmacs:5'", ""]
    assert cells(shown, "data.data_dir") == ["'/a'", "'/b'", "free"]
    assert cells(shown, "searched", "Here: run") == ["52.3", "50.0", "2.72", "3.00"]
    assert "The configs are the same." in text(run, run)


def test_what_two_searches_decided(run, tmp_path):
    other = write_run(tmp_path / "other")
    spec = RTSeg(3, width=0.25, segment_blocks=(0, 0, 2), head_width=8)  # stage of 32 at 1/32: four heads
    full = {group.name: group.size for group in declare(spec).searched_groups}
    names = ("stage32_1", "stage32_2")
    ArchSpec(spec, full, dict.fromkeys(names, "mhsa")).save(run / "searched.json")
    fewer = full | {"stage32_2_mhsa.heads": 3, "head.conv": 40}
    ArchSpec(spec, fewer, {"stage32_1": "lir", "stage32_2": "mhsa"}).save(other / "searched.json")
    shown = text(run, other)
    assert cells(shown, "Stage 1/32, block 1", "Paths searched") == ["MHSA", "LIR"]
    assert cells(shown, "Stage 1/32, block 2", "Paths searched") == ["MHSA", "MHSA"]
    assert cells(shown, "Head", "Channels searched") == ["256", "256", "40", "256"]
    kept, total, kept_there, total_there = cells(shown, "Stage 1/32", "Channels searched")
    assert kept == total == total_there
    assert int(kept_there) == int(total) - 8  # a head has 8 channels


def test_runs_of_before_a_field_go_on_under_what_they_did():
    old = {"latency": {"device": "host_cpu"}, "network": {"width": 1.0}}
    new = {
        "latency": {"device": "host_cpu", "precision": "float32"},
        "network": {"width": 1.0, "mlp_activation": "gelu"},
    }
    assert list(differing_fields(old, new)) == []
    new["latency"]["precision"] = "int8"
    assert list(differing_fields(old, new)) == ["latency.precision is 'int8' here and None there"]


def test_the_digest_is_of_the_fields_that_make_the_run():
    other = CONFIG | {"data": CONFIG["data"] | {"data_dir": "/b"}, "phases": ["search"]}
    assert config_digest(other) == config_digest(CONFIG)
    assert config_digest(CONFIG | {"seed": 4}) != config_digest(CONFIG)
    assert [is_free(field) for field in ("phases", "phases.a", "phasesa", "train.log_every", "train")] == [
        1,
        1,
        0,
        1,
        0,
    ]
    assert differing_values({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}}) == {"a.b": (1, 2), "a.c": (None, 3)}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, r"run: no such folder; name the workdir of a run"),
        (lambda root: root.mkdir(), r"run: no run began in this folder, it has no config\.json"),
        (lambda root: write_run(root, results=[1]), r"results\.json: not a file of a run"),
        (lambda root: (write_run(root) / "config.json").write_text("{"), r"config\.json: damaged"),
        (lambda root: write_run(root, results={"phases": {"evaluate": {}}}), r"run: damaged, or of another version"),
        (lambda root: (write_run(root) / "history.jsonl").write_text("{}\n"), r"run: damaged, or of another version"),
    ],
)
def test_what_is_no_workdir_is_named(tmp_path, prepare, message):
    prepare(tmp_path / "run")
    with pytest.raises(UserError, match=message) as error:
        show(Console(), str(tmp_path / "run"))
    assert "\n" not in str(error.value)


def test_the_command_does_without_jax(run):
    code = (
        "import sys\nfrom rtseg_jax.show import run\n"
        "try:\n    run()\nfinally:\n    assert not {'jax', 'jaxlib', 'tensorflow', 'orbax'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Phases" in done.stdout
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: name one workdir: show WORKDIR [--against=OTHER_WORKDIR]\n"


def test_reading_leaves_the_workdir_as_it_is(run):
    before = {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*"))}
    read_run(str(run))
    text(run)
    assert {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*"))} == before
    assert Path(module.__file__).name == "show.py"
