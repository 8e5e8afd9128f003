"""Whole runs through the real entry point, and every shipped config."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from plain_network import apply
from rich.console import Console
from shrinking import CONFIGS, TRAINING, load_config, shrink, start

from rtseg_jax import main
from rtseg_jax.architecture import ArchSpec, declare_spec
from rtseg_jax.config import run_spec
from rtseg_jax.errors import UserError
from rtseg_jax.export.metadata import read_metadata
from rtseg_jax.files import write_bytes, write_json
from rtseg_jax.latency import LatencySpec, Timing
from rtseg_jax.models import SegmentationNetwork
from rtseg_jax.show import show
from rtseg_jax.training import loop, outcome, phases, run
from rtseg_jax.training.checkpoint_files import kept_checkpoints
from rtseg_jax.training.checkpoints import load_newest
from rtseg_jax.training.front import front
from rtseg_jax.training.placement import make_placement
from rtseg_jax.training.run import zero_variables
from rtseg_jax.training.train_and_evaluate import train_and_evaluate
from rtseg_jax.training.workdir import Workdir

# How many phases are trained of a config: all of one, the search of the one that searches in another way.
TRAINED_PHASES = {"camvid": 4, "published": 2}
SECONDS = 600  # after which a process that hangs is given up; nothing is asserted about time


def folder_of_pictures(root):
    """Ten pictures of five sizes with palette labels of three ids."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
    from stranger import label_of, write_label, write_picture

    for number in range(10):
        write_picture(root / f"images/{number}.jpg", number)
        write_label(root / f"labels/{number}.png", label_of(number), "palette")
    return root


@pytest.fixture
def plain(monkeypatch):
    """Steps that compile in seconds: what computes networks is in tests of its own, and in the run that is finished."""
    monkeypatch.setattr(run, "make_placement", lambda spec: make_placement(spec, jax.devices()[:1]))
    monkeypatch.setattr(run, "default_lowering", lambda: "native")
    monkeypatch.setattr(SegmentationNetwork, "apply", apply)


@pytest.fixture
def compilations():
    """Names of the functions that XLA compiles during a test."""
    names = []

    def listen(event, seconds, **values):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(values["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.usefixtures("plain")
def test_shipped_config_trains_every_phase_and_compiles_each_step_once(
    name, tmp_path, predictor_path, monkeypatch, compilations
):
    traces = []
    original = loop.make_step

    def counting(setup):
        step = original(setup)

        def traced(*arguments):
            traces.append(setup.seed)
            return step(*arguments)

        return traced

    monkeypatch.setattr(loop, "make_step", counting)
    config = shrink(load_config(name), predictor_path)
    wanted = TRAINING[: TRAINED_PHASES.get(name, 1)]
    config.phases = wanted
    if name == "folder":  # the real thing: JPEG pictures of mixed sizes, portrait and landscape, and no class file
        config.data.stand_in = False
        config.data.data_dir = str(folder_of_pictures(tmp_path / "pictures"))
    config.data.augment_on = "device" if name == "camvid" else "host"
    results = train_and_evaluate(config, tmp_path)
    assert set(results["phases"]) == set(wanted)
    assert len(traces) == len(set(traces)) == len(wanted)
    assert sum("traced" in function for function in compilations) == len(wanted)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    trained = [(row["phase"], row["step"]) for row in rows if "losses" in row]
    assert trained == [(phase, step) for phase in wanted for step in (1, 2)]
    scored = {row["phase"]: row["miou"] for row in rows if "miou" in row}
    unscored = {"search"} if config.search.rule == "published" else {"search", "pretrain"}
    assert scored == {phase: results["phases"][phase]["miou"] for phase in wanted if phase not in unscored}
    if "search" in wanted:
        arch = ArchSpec.load(tmp_path / "searched.json")
        assert results["phases"]["search"]["widths"] == dict(arch.widths)
    if wanted == TRAINING:
        check_choice(tmp_path, results["choice"])


def check_choice(workdir, choice):
    """The better network by held-out pictures is the one that is handed over."""
    scores = choice["held_out_miou"]
    assert set(scores) == set(choice["among"]) == {"searched", "uniform"}
    assert scores[choice["best"]] == max(scores.values())
    assert ArchSpec.load(workdir / "architecture.json") == ArchSpec.load(workdir / f"{choice['best']}.json")


def check_provenance(workdir, results):
    """Everything that is left says where it comes from, and `show` reads it."""
    origin = results["provenance"]
    assert set(origin) == {"commit", "versions", "python", "config"}
    assert all(phase["provenance"] == origin for phase in results["phases"].values())
    for name in ("architecture.json", "searched.json", "uniform.json"):
        assert json.loads((workdir / name).read_text())["provenance"] == origin
    folders = list((workdir / "checkpoints").iterdir())
    assert {folder.name for folder in folders} >= {"search", "finetune", "best_variables", "uniform_variables"}
    assert all(kept.provenance == origin for folder in folders for kept in kept_checkpoints(folder))
    metadata = read_metadata((workdir / "model.tflite").read_bytes(), "model")
    assert metadata.provenance["trained"] == origin
    assert metadata.provenance["exported"]["versions"] == origin["versions"]
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        show(console, str(workdir))
    shown = capture.get()
    assert f"config {origin['config']}" in shown
    assert re.search(r"model\.tflite .*numbers: none", shown)
    assert len(re.findall(r"│ \w+ +│ +done │", shown)) == len(results["phases"])


def variables(workdir, phase, arch_file):
    network = declare_spec(ArchSpec.load(workdir / arch_file))
    return load_newest(Workdir(workdir).checkpoints(f"{phase}_variables"), zero_variables(SegmentationNetwork(network)))


def finish(process):
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return output


@pytest.mark.xdist_group("finished")
def test_whole_run_leaves_everything_a_user_expects(finished):
    config, workdir, output = finished
    results = json.loads((workdir / "results.json").read_text())
    names = [row["name"] for row in results["phases"]["evaluate"]["table"]]
    assert names == ["supernet", "searched, sliced", "searched", "uniform", "bisenetv2"]
    check_choice(workdir, results["choice"])
    assert results["seed"] == 0
    assert results["provenance"]["versions"]["jax"] == jax.__version__
    check_provenance(workdir, results)
    assert results["config"]["network"]["width"] == 0.25
    exported = results["phases"]["export"]
    assert exported["cpu"]["max_difference"] <= 1e-5
    assert exported["pictures"] == 3
    assert exported["miou"] == exported["jax_miou"]
    assert exported["failures"] == []
    assert (workdir / "model.tflite").read_bytes()[4:8] == b"TFL3"
    assert {"report.html", "report.md", "losses.png", "channels.png", "paths.png", "worth.png"} <= {
        path.name for path in (workdir / "report").iterdir()
    }
    told = (workdir / "report" / "report.md").read_text()
    assert f"--config={config} --workdir={workdir}" in told.replace("\\", "")
    assert results["phases"]["evaluate"]["verdict"].partition(". ")[0] in told
    assert "model.tflite" in told.partition("## The file")[2]
    *_, predict, convert = output.splitlines()
    assert predict.startswith(f"  python -m rtseg_jax predict --model={workdir / 'model.tflite'} ")
    assert convert.startswith(f"  python -m rtseg_jax convert --workdir={workdir} ")
    assert "Uniform scaling wins" in output or "The search beats uniform scaling" in output


@pytest.mark.xdist_group("finished")
def test_finished_run_is_skipped_and_another_config_refused(finished):
    config, workdir, _ = finished
    before = (workdir / "history.jsonl").read_bytes()
    assert "export: finished before, skipped" in finish(start(config, workdir))
    assert (workdir / "history.jsonl").read_bytes() == before
    other = start(config, workdir, "--config.train.learning_rate=0.25")
    output, _ = other.communicate(timeout=SECONDS)
    assert other.returncode == 2
    assert "train.learning_rate is 0.25 here and 0.1 there" in output


@pytest.mark.xdist_group("finished")
def test_another_run_starts_from_architecture_and_supernet(finished, tmp_path):
    config, workdir, _ = finished
    arguments = (f"--config.init_from={workdir}", "--config.phases=('finetune',)")
    again = start(config, tmp_path, *arguments)
    finish(again)
    first, second = (
        variables(workdir, "finetune", "searched.json"),
        variables(tmp_path, "finetune", "searched.json"),
    )
    jax.tree.map(np.testing.assert_array_equal, second, first)


def test_unknown_field_names_the_nearest(capsys):
    arguments = ["--config=configs/quickstart.py", "--workdir=x", "--config.batchsize=4"]
    assert main.COMMAND.execute(arguments, "search") == 2
    assert "the nearest is --config.batch_size" in capsys.readouterr().err


def test_missing_data_folder_stops_before_anything_is_trained(tmp_path, predictor_path):
    config = shrink(load_config("camvid"), predictor_path)
    config.data.stand_in = False
    config.data.data_dir = str(tmp_path / "nowhere")
    with pytest.raises(Exception, match="nowhere"):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_start_that_was_wrong_leaves_the_workdir_to_the_next_one(tmp_path, predictor_path, monkeypatch):
    config = shrink(load_config("quickstart"), predictor_path)
    monkeypatch.setattr(phases, "fit", lambda *_, **__: {"miou": 0.0})
    config.phases = ("pretrain",)
    config.batch_size = 3  # which the two devices of the tests cannot share
    with pytest.raises(UserError, match=r"config\.batch_size is 3"):
        train_and_evaluate(config, tmp_path)
    assert list(tmp_path.iterdir()) == []
    config.batch_size = 2
    assert "pretrain" in train_and_evaluate(config, tmp_path)["phases"]


@pytest.mark.usefixtures("plain")
def test_a_network_without_choices_is_trained_scored_and_handed_over(tmp_path, predictor_path, monkeypatch):
    monkeypatch.setattr(outcome, "measure_networks_in_child", lambda archs, *_: [Timing(1.0, 1, 0.0)] * len(archs))
    config = shrink(load_config("quickstart"), predictor_path)
    config.model, config.phases = "fast_scnn", ("train", "evaluate")
    results = train_and_evaluate(config, tmp_path)
    (row,) = (row for row in results["phases"]["evaluate"]["table"] if row["name"] == "trained")
    assert row["miou"] == results["phases"]["train"]["miou"]
    arch = ArchSpec.load(tmp_path / "architecture.json")
    assert results["choice"] == {"best": "trained", "among": {"trained": arch.digest}}
    assert arch.network.name == "fast_scnn"
    config.phases = ("search",)
    with pytest.raises(UserError, match=r"phases of config\.model=fast_scnn are train, evaluate, export"):
        train_and_evaluate(config, tmp_path)


def test_a_predictor_of_another_supernet_is_refused(tmp_path, predictor_path):
    config = shrink(load_config("quickstart"), predictor_path)
    config.network.width = 0.3
    with pytest.raises(
        UserError, match=r"was measured on a supernet with width 0\.25, this one has 0\.3; measure again"
    ):
        train_and_evaluate(config, tmp_path)


def test_a_run_says_that_its_predictor_was_measured_on_a_busy_device(tmp_path, predictor_path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(run, "log_warnings", told.extend)
    predictor = json.loads(predictor_path.read_text())
    path = tmp_path / "predictor.json"
    for noise in (0.004, 0.3):
        predictor["card"]["noise"] = noise
        path.write_text(json.dumps(predictor))
        run.Run.start(run_spec(shrink(load_config("quickstart"), path)), Workdir(tmp_path / "run")).costs()
    warned = [text for text in told if "busy" in text]
    assert len(warned) == 1
    assert warned[0].startswith(f"{path}: the device was busy")


def test_a_predictor_of_files_in_other_numbers_is_refused(tmp_path, predictor_path):
    config = shrink(load_config("quickstart"), predictor_path)
    config.latency.precision = "int8"
    with pytest.raises(
        UserError, match=r"latency\.precision=int8 was given 8 training pictures to calibrate on; it needs"
    ):
        train_and_evaluate(config, tmp_path)
    config.data.num_train = 16
    with pytest.raises(UserError, match=r"was measured on float32 files, config\.latency\.precision is int8; measure "):
        train_and_evaluate(config, tmp_path)


def test_where_other_numbers_ship_the_files_are_scored_and_timed(tmp_path, monkeypatch):
    place, spec = Workdir(tmp_path), LatencySpec(precision="int8", image_size=(32, 64))
    one = SimpleNamespace(spec=SimpleNamespace(latency=spec), workdir=place)
    monkeypatch.setattr(outcome, "convert_in_child", lambda *given, **settings: {"given": [*map(str, given), settings]})
    cards = outcome._cards(one, ["searched", "uniform"])
    assert cards == {
        name: {"given": [str(tmp_path), f"{tmp_path}/exported/{name}.tflite", "jax2tf", settings]}
        for name in ("searched", "uniform")
        if (settings := {"precision": "int8", "network": name})
    }
    monkeypatch.setattr(
        outcome,
        "measure_networks_in_child",
        lambda networks, *_: [Timing(float(len(str(network))), 1, 0.0) for network in networks],
    )
    networks = {"supernet": "arch", "searched": place.exported("searched")}
    timings = outcome._measure(one, networks)
    assert {name: timing.ms for name, timing in timings.items()} == {
        "supernet": 4.0,
        "searched": len(f"{tmp_path}/exported/searched.tflite"),
    }
    one.spec.latency = LatencySpec()
    assert outcome._cards(one, ["searched"]) == {}  # the network itself is scored


def test_the_file_of_the_table_is_handed_over(tmp_path, monkeypatch):
    place = Workdir(tmp_path)
    one = SimpleNamespace(spec=SimpleNamespace(latency=LatencySpec(precision="int8")), workdir=place)
    monkeypatch.setattr(outcome, "convert_in_child", lambda *given, network, **settings: {"converted": network})
    write_bytes(place.exported("uniform"), b"uniform")
    write_json(place.exported("uniform").with_suffix(".json"), {"card": "uniform"})
    place.choose({"best": "uniform"})
    assert outcome.export(one) == {"converted": "best"}  # of another choice: the table is not made yet
    assert not place.model.exists()
    place.finish("evaluate", {})
    assert outcome.export(one) == {"card": "uniform"}
    assert place.model.read_bytes() == b"uniform"
    assert json.loads(place.model.with_suffix(".json").read_text()) == {"card": "uniform"}
    place.choose({"best": "searched"})
    assert outcome.export(one) == {"converted": "best"}


def test_what_a_search_left_is_scored_in_float_where_other_numbers_ship(monkeypatch):
    found = SimpleNamespace(results=lambda: {"phases": {"search": {"sliced_miou": 0.25}}})
    one = SimpleNamespace(has=lambda phase: True, source=lambda phase: found)
    row = {"name": "searched", "miou": 0.5, "latency_ms": 1.0}
    assert outcome._with_slicing_rows(one, [row]) == [{**row, "name": "searched, sliced", "miou": 0.25}, row]
    row["float32_miou"] = 0.625
    sliced = {**row, "name": "searched, sliced", "miou": None, "float32_miou": 0.25}
    assert outcome._with_slicing_rows(one, [row]) == [sliced, row]


def test_unreachable_target_names_the_range(tmp_path, predictor_path):
    config = shrink(load_config("quickstart"), predictor_path)
    config.latency.target_ms = 1e-6
    with pytest.raises(Exception, match=r"out of reach: .* take \d+\.\d+ to \d+\.\d+ ms"):
        train_and_evaluate(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_front_refuses_an_unreachable_target_before_it_trains(tmp_path, predictor_path):
    with pytest.raises(UserError, match="out of reach"):
        front(shrink(load_config("quickstart"), predictor_path), [1e-6], tmp_path)
    assert not (tmp_path / "supernet" / "checkpoints").exists()


@pytest.mark.usefixtures("plain")
def test_non_finite_loss_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path, predictor_path):
    config = shrink(load_config("quickstart"), predictor_path, steps=6)
    config.phases = ("pretrain",)
    config.train.learning_rate = 1e30
    with pytest.raises(Exception, match=r"pretrain: the loss is not finite at step (\d+)") as stopped:
        train_and_evaluate(config, tmp_path)
    step = int(str(stopped.value).split("at step ")[1].split()[0])
    saved = [int(path.name) for path in (tmp_path / "checkpoints" / "pretrain").iterdir() if path.name.isdigit()]
    assert max(saved) == step - 1
