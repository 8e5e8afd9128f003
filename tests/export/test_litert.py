"""LiteRT's own converter: without TensorFlow, and what it refuses. That it writes the same is in test_tflite.py."""

import subprocess
from pathlib import Path

import pytest
from helpers import processes

from benchmarks import converters
from rtseg_jax.config import base_config, run_spec
from rtseg_jax.errors import UserError
from rtseg_jax.export import child, litert
from rtseg_jax.export.formats import check_request
from rtseg_jax.export.spec import JAX2TF, LITERT, ExportSpec
from rtseg_jax.latency import LatencySpec, sweep
from rtseg_jax.training.workdir import is_free

ROW = converters.Row(0, "conv", (), (), 0.0, {JAX2TF: 90.0, LITERT: 30.0})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("without")
    errors = processes.run(Path(__file__).with_name("without_tensorflow.py"), folder)
    return {**processes.findings(folder), "errors": errors}


def test_a_child_that_converts_has_no_tensorflow(found):
    assert found["status"] == 0
    assert found["loaded"] == []
    assert found["converter"] == LITERT


def test_without_tensorflow_jax2tf_says_what_to_install(found):
    assert found["refused"] == 2
    assert (
        "error: this export needs tensorflow, which is not installed; run: pip install 'rtseg_jax[export]'"
        in (found["errors"])
    )


def test_without_tensorflow_training_has_no_tensorboard(found):
    assert found["writer"] == "None"


def test_the_converter_says_nothing_of_its_own(found):
    assert [line for line in found["errors"].splitlines() if line.startswith(("I0000", "WARNING"))] == []


def test_the_same_block_gives_the_same_bits(found):
    assert len(set(found["digests"])) == 1


def test_an_input_that_is_not_read_stays_an_input(found):
    assert found["unread_input"] == 1


@pytest.mark.parametrize("case", ["cannot", "cannot_either"])
def test_what_it_cannot_express_is_one_line(found, case):
    assert found[case].startswith("LiteRT's converter cannot express ")
    assert found[case].endswith("; try --converter=jax2tf")
    assert "\n" not in found[case]


def test_numbers_that_it_cannot_write_are_refused():
    with pytest.raises(
        UserError, match="--converter=litert writes float32 only; --quantize=int8 needs --converter=jax2tf"
    ):
        ExportSpec((32, 64), quantize="int8", converter=LITERT)
    with pytest.raises(UserError, match="--converter is 'tflite': it must be one of jax2tf, litert"):
        ExportSpec((32, 64), converter="tflite")
    with pytest.raises(UserError, match=r"config\.converter is 'tflite': it must be one of jax2tf, litert"):
        LatencySpec(converter="tflite")


def test_other_formats_have_their_own_converter(tmp_path):
    with pytest.raises(UserError, match="--converter=litert goes with --format=tflite only"):
        check_request("stablehlo", tmp_path / "m", "none", converter=LITERT)


def test_a_missing_library_is_named_before_any_work(tmp_path, monkeypatch):
    check_request("tflite", tmp_path / "m", "none", converter=LITERT)
    monkeypatch.setattr(litert, "PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="which is not installed; run: pip install --no-deps litert-converter=="):
        check_request("tflite", tmp_path / "m", "none", converter=LITERT)


def test_a_run_hands_its_converter_on(tmp_path, monkeypatch):
    config = base_config()
    config.data.name, config.data.data_dir, config.converter = "synthetic_streets", "/nowhere", LITERT
    spec = run_spec(config).latency
    assert spec.converter == LITERT
    assert sweep.backend_of(spec).converter == LITERT
    assert sweep.backend_of(LatencySpec()).converter == JAX2TF
    assert is_free("converter")  # a run of before, whose config had no such field, goes on
    commands = []

    def run(command, **_):
        commands.append(command)
        (tmp_path / "m.json").write_text("{}")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(child.subprocess, "run", run)
    assert child.convert_in_child(tmp_path, tmp_path / "m.tflite", spec.converter) == {}
    assert "--converter=litert" in commands[0]


# ---- the comparison


def test_an_explained_operator_counts_as_what_stands_for_it():
    litert_s = {"MEAN": 2, "MUL": 1, "ADD": 3}
    assert converters.unexplained({"SUM": 2, "MUL": 3, "ADD": 3}, litert_s) == {}
    assert converters.unexplained({"SUM": 2, "MUL": 3, "ADD": 3, "RESHAPE": 2}, litert_s) == {}
    assert converters.unexplained({"SUM": 2, "MUL": 3, "ADD": 3, "RESHAPE": 3}, litert_s) == {"RESHAPE": 3}
    assert converters.unexplained({"SUM": 1, "MUL": 3, "ADD": 4}, litert_s) == {"SUM": -1, "ADD": 1}
    assert converters.unexplained(litert_s, {"SUM": 2, "MUL": 3, "ADD": 3}) == {"MEAN": 2, "SUM": -2, "MUL": -2}


def test_rows_go_on_after_a_cut(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert converters.read(path) == []
    converters.append(path, [ROW, ROW])
    with path.open("a") as file:
        file.write('[{"number": 1, "ki')
    assert converters.read(path) == [ROW, ROW]
    converters.append(path, [ROW])
    assert converters.read(path) == [ROW, ROW, ROW]


def test_the_table_counts_equal_explained_and_failed_pairs():
    rows = [
        ROW,
        converters.Row(1, "conv", (), ("MEAN",), 2e-7, {JAX2TF: 110.0, LITERT: 50.0}),
        converters.Row(2, "conv", ("litert cannot: x",), (), None, {JAX2TF: 100.0, LITERT: 10.0}),
    ]
    text = converters.table(rows)
    assert "| conv | 3 | 1 | 1 | 2.0e-07 | 100 | 30 | 3.3 |" in text
    assert "conv of architecture 2: litert cannot: x." in text
    assert "MEAN: a mean over pixels" in text
