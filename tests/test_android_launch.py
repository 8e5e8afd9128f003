"""launch/android.sh: what a dry run prints, and what a real one does to a script in adb's place."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_phone import FOLDER, PRINTS, FakePhone

SCRIPT = Path(__file__).parent.parent / "launch" / "android.sh"


def launch(*arguments: object, **environment: object) -> subprocess.CompletedProcess:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANDROID", "BENCHMARK", "RESULTS"))
    }
    given = {name: str(value) for name, value in environment.items()}
    command = ["bash", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=clean | given, check=False)


def dry_run(*arguments: str, **environment: object) -> list[list[str]]:
    result = launch("--dry-run", *arguments, BENCHMARK_MODEL="bin/a program", **environment)
    assert result.returncode == 0, result.stderr
    return [shlex.split(line) for line in result.stdout.splitlines()]


@pytest.fixture
def fake(tmp_path: Path) -> FakePhone:
    return FakePhone(tmp_path / "adb")


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "small.tflite", tmp_path / "large.tflite"]
    for path in paths:
        path.write_text(path.name)
    return paths


def run_of(name: str, flags: str) -> str:
    return f"{FOLDER}/benchmark_model --graph={FOLDER}/{name}.tflite {flags} > {FOLDER}/{name}.txt 2>&1"


def test_dry_run_prints_every_command():
    assert dry_run("a folder/small.tflite", "large.tflite", RESULTS="out") == [
        ["mkdir", "-p", "out"],
        ["adb", "shell", "mkdir", "-p", FOLDER],
        ["adb", "push", "bin/a program", f"{FOLDER}/benchmark_model"],
        ["adb", "shell", "chmod", "755", f"{FOLDER}/benchmark_model"],
        ["adb", "push", "a folder/small.tflite", "large.tflite", f"{FOLDER}/"],
        ["adb", "shell", run_of("small", "--use_gpu=true")],
        ["adb", "pull", f"{FOLDER}/small.txt", "out/small.txt"],
        ["adb", "shell", run_of("large", "--use_gpu=true")],
        ["adb", "pull", f"{FOLDER}/large.txt", "out/large.txt"],
    ]


def test_flags_replace_the_gpu():
    *_, run, pull = dry_run("m.tflite", "--use_xnnpack=true", "--num_threads=4")
    assert run == ["adb", "shell", run_of("m", "--use_xnnpack=true --num_threads=4")]
    assert pull[-1] == "android_results/m.txt"


def test_prints_are_fetched(fake: FakePhone, models: list[Path], tmp_path: Path):
    out = tmp_path / "out"
    result = launch(*models, PATH=fake.path, BENCHMARK_MODEL=fake.program, RESULTS=out)
    assert result.returncode == 0, result.stderr
    for path in models:
        assert (fake.folder / "phone" / path.name).read_text() == path.name
        assert (out / f"{path.stem}.txt").read_text() == (PRINTS / "gpu.txt").read_text()
    assert result.stdout.count("Inference timings in us") == 2
    assert len(fake.calls("push")) == 2


def test_a_failure_leaves_its_print(fake: FakePhone, models: list[Path], tmp_path: Path):
    fake.print("ERROR: Failed to apply GPU delegate.\n", status=1)
    result = launch(*models, PATH=fake.path, BENCHMARK_MODEL=fake.program, RESULTS=tmp_path)
    assert result.returncode == 1
    prints = f"{tmp_path}/small.txt {tmp_path}/large.txt"
    assert result.stderr == f"error: benchmark_model failed and says why in: {prints}\n"
    assert (tmp_path / "large.txt").read_text() == "ERROR: Failed to apply GPU delegate.\n"


def test_a_phone_that_goes_away_ends_it(fake: FakePhone, models: list[Path], tmp_path: Path):
    fake.vanish_after(5)
    result = launch(*models, PATH=fake.path, BENCHMARK_MODEL=fake.program, RESULTS=tmp_path / "out")
    assert result.returncode != 0
    assert "device 'R5CT' not found" in result.stderr
    assert len(fake.calls("pull")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no model was named"),
        (("--use_gpu=true",), "no model was named"),
        (("model.pb",), "model.pb: not called *.tflite"),
        (("a/m.tflite", "b/m.tflite"), "two files are called m.tflite"),
        (("a b.tflite",), "a b.tflite: a phone's shell wants names"),
        (("missing.tflite",), "missing.tflite: no such file"),
    ],
)
def test_arguments_that_cannot_work(fake: FakePhone, arguments: tuple[str, ...], message: str):
    result = launch(*arguments, PATH=fake.path, BENCHMARK_MODEL=fake.program)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {message}")
    assert len(result.stderr.splitlines()) == 1
    assert fake.calls() == []


def test_program_and_adb_are_needed(models: list[Path]):
    result = launch(*models)
    assert result.returncode != 0
    assert "set BENCHMARK_MODEL" in result.stderr
    (models[0].parent / "bin").mkdir()
    for tool in ("bash", "dirname", "basename"):
        (models[0].parent / "bin" / tool).symlink_to(str(shutil.which(tool)))
    result = launch(*models, BENCHMARK_MODEL=models[0], PATH=models[0].parent / "bin")
    assert result.stderr.startswith("error: adb was not found")
