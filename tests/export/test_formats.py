"""StableHLO, SavedModel and ONNX: read from disk in another process they are the network; what is refused, and how."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import processes

from rtseg_jax.errors import UserError
from rtseg_jax.export.formats import FILE_NAMES, FORMATS, ONNX_LIBRARIES, check_request, write_form

pytestmark = pytest.mark.xdist_group("formats")  # one worker makes what all of them look at

ONNX = pytest.param(
    "onnx", marks=pytest.mark.skipif(not all(map(importlib.util.find_spec, ONNX_LIBRARIES)), reason="no jax2onnx")
)
FORMS = ("stablehlo", "saved_model", ONNX)
HEADS = {"logits": [1, 33, 65, 3], "lowres_logits": [2, 5, 9, 3], "class_map": [1, 33, 65, 1]}


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("exported")
    for step in ("write", "read"):
        processes.run(Path(__file__).with_name("exporting.py"), step, folder, TF_CPP_MIN_LOG_LEVEL="2")
    return processes.findings(folder)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_back_is_the_network(found: dict, form: str, head: str):
    case = found[f"{form}-{head}"]
    assert case["shape"] == case["expected_shape"] == HEADS[head]
    assert case["dtype"] == "float32"
    assert case["difference"] <= (0 if head == "class_map" else 1e-5)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("form", FORMS)
def test_input_and_batch_are_those_asked_for(found: dict, form: str, head: str):
    case = found[f"{form}-{head}"]
    assert case["input_dtype"] == ("float32" if head == "logits" else "uint8")
    assert not case["takes_another_batch"]


@pytest.mark.parametrize("form", FORMS)
def test_an_export_says_what_it_is(found: dict, form: str):
    case = found[f"{form}-class_map"]
    assert case["metadata_kept"]
    assert case["labels_kept"] in (True, "road\nGebäude\nsky\n")


def test_stablehlo_runs_on_every_platform_and_is_read_without_tensorflow(found: dict):
    case = found["stablehlo-logits"]
    assert case["platforms"] == ["cpu", "cuda", "tpu"]
    assert not case["tensorflow"]


@pytest.mark.parametrize("form", FORMS[1:])
def test_inputs_and_outputs_have_names(found: dict, form: str):
    for head in HEADS:
        case = found[f"{form}-{head}"]
        assert (case["inputs"], case["outputs"]) == (["pictures"], [head])


@pytest.mark.parametrize("form", ["stablehlo", "saved_model"])
def test_weights_are_stored_once(found: dict, form: str):
    assert found[f"{form}-logits"]["bytes"] < 500_000  # of 420 kB


@pytest.mark.parametrize("form", FORMATS[1:])
def test_only_tflite_has_other_numbers_or_a_gpu_verdict(form: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match=rf"--quantize=int8 goes with --format=tflite only; .* --format={form}$"):
        check_request(form, Path("x"), "int8")
    with pytest.raises(UserError, match="--require_gpu asks TFLite's GPU accelerator"):
        check_request(form, Path("x"), "none", require_gpu=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    check_request(form, Path("x"), "none")
    check_request("tflite", Path("x"), "int8", require_gpu=True)


def test_a_missing_converter_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jax2onnx" else object())
    with pytest.raises(UserError, match=r"needs jax2onnx, not installed here: pip install .*jax2onnx==\d") as caught:
        check_request("onnx", Path("x"), "none")
    assert "\n" not in str(caught.value)
    check_request("stablehlo", Path("x"), "none")


def test_nothing_is_replaced_that_is_no_export(tmp_path: Path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UserError, match="there, and no SavedModel"):
        check_request("saved_model", tmp_path, "none")
    with pytest.raises(UserError, match="there, and no SavedModel"):
        check_request("saved_model", tmp_path / "photo.jpg", "none")
    with pytest.raises(UserError, match="a folder; --format=stablehlo writes a file"):
        check_request("stablehlo", tmp_path, "none")
    (tmp_path / "saved_model.pb").touch()
    check_request("saved_model", tmp_path, "none")


def test_an_unknown_form_is_refused():
    with pytest.raises(UserError, match="--format is 'tf': it must be one of tflite, saved_model, stablehlo, onnx"):
        check_request("tf", Path("x"), "none")


def fill(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "saved_model.pb").write_text(text)


def test_a_folder_is_replaced_whole(tmp_path: Path):
    path = tmp_path / "deep" / "model"
    seen: list[str] = []
    write_form("saved_model", path, lambda folder: fill(folder, "old"))

    def write(folder: Path) -> None:
        fill(folder, "new")
        seen.append((path / "saved_model.pb").read_text())

    write_form("saved_model", path, write)
    assert seen == ["old"]
    assert (path / "saved_model.pb").read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_whose_writer_fails_leaves_the_old_one(tmp_path: Path):
    path = tmp_path / "model"
    write_form("saved_model", path, lambda folder: fill(folder, "old"))

    def half(folder: Path) -> None:
        fill(folder, "half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_form("saved_model", path, half)
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "saved_model.pb").read_text() == "old"


def test_the_command_refuses_before_work_starts(tmp_path: Path):
    arguments = [f"--workdir={tmp_path}", "--format=stablehlo", "--quantize=fp16"]
    command = [sys.executable, "-m", "rtseg_jax.convert_tflite", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: --quantize=fp16 goes with --format=tflite only")
    assert not list(tmp_path.iterdir())


def test_every_form_has_a_name_to_go_by():
    assert list(FILE_NAMES) == list(FORMATS)
    assert len(set(FILE_NAMES.values())) == len(FORMATS)
