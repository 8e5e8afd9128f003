"""The command that times a file: on this machine's processor, and on a phone behind a script in adb's place."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_phone import OTHER, PIXEL, PRINTS, FakePhone

from rtseg_jax import benchmark_tflite
from rtseg_jax.benchmark_tflite import Latency, growth_mb
from rtseg_jax.export.flatbuffer import packed
from rtseg_jax.export.interpreter import load_interpreter
from rtseg_jax.latency.devices import BACKENDS, android
from rtseg_jax.latency.devices.android import ANDROID_DEVICES
from rtseg_jax.latency.devices.host_cpu import HostCpu, fill_inputs


def tiny_model(kind: str) -> bytes:
    """A file that flattens [1 2 2 3] numbers."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    for shape in ([1, 2, 2, 3], [1, 12]):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = b"x", shape, getattr(schema.TensorType, kind)
        graph.tensors = [*(graph.tensors or []), tensor]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    operator.inputs, operator.outputs = [0], [1]
    operator.builtinOptionsType, operator.builtinOptions = (
        schema.BuiltinOptions.ReshapeOptions,
        schema.ReshapeOptionsT(),
    )
    operator.builtinOptions.newShape = [1, 12]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    return packed(model)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model("FLOAT32"))
    return path


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    phone = FakePhone(tmp_path / "adb")
    monkeypatch.setenv("PATH", phone.path)
    monkeypatch.setattr(android, "COOLING_STEP_S", 0.0)  # a failure must not wait for a script to cool down
    for name in ("ANDROID_SERIAL", "ANDROID_MAX_CELSIUS", "BENCHMARK_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return phone


def command(*arguments: object) -> int:
    return benchmark_tflite.COMMAND.execute([*map(str, arguments)], "benchmark")


def error(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    assert command(*arguments) == 2
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    return printed


def test_percentiles_and_noise_of_known_runs():
    seconds = [(i + 1) / 1000 for i in range(101)]  # 1 to 101 ms
    latency = Latency.of("wall time", seconds)
    assert (latency.clock, latency.min_ms) == ("wall time", 1.0)
    found = (latency.mean_ms, latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.noise)
    assert found == pytest.approx((51.0, 51.0, 91.0, 96.0, 50.0 / 51.0))


def test_memory_grows_to_its_peak_unless_that_is_older():
    assert growth_mb((100.0, 120.0), (110.0, 150.0)) == 50.0
    assert growth_mb((100.0, 120.0), (110.0, 120.0)) == 10.0
    assert growth_mb(None, (110.0, 120.0)) is None


@pytest.mark.parametrize(
    ("kind", "dtype", "high"), [("FLOAT32", "float32", 6), ("UINT8", "uint8", 255), ("INT8", "int8", 127)]
)
def test_input_is_random_and_of_the_type_of_the_file(kind: str, dtype: str, high: int):
    interpreter = load_interpreter(tiny_model(kind))
    fill_inputs(interpreter)
    value = interpreter.get_tensor(0)
    assert value.dtype == np.dtype(dtype)
    assert len(np.unique(value)) > 6
    assert np.abs(value.astype(np.float32)).max() < high


def test_sweeps_time_files_of_integers():
    assert HostCpu(runs=2).measure(tiny_model("UINT8")).runs >= 2


def test_host_cpu(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    command(file, "--runs=7", f"--json={tmp_path / 'figures.json'}")
    figures = json.loads((tmp_path / "figures.json").read_text())
    wall, cpu = figures["latencies"]
    assert (wall["clock"], cpu["clock"]) == ("wall time", "CPU time of the thread")
    assert 0 < wall["min_ms"] <= wall["p50_ms"] <= wall["p90_ms"] <= wall["p95_ms"]
    assert (figures["file"], figures["card"]["runs"], figures["card"]["threads"]) == ("model.tflite", 7, 1)
    assert figures["operators"] is None
    assert figures["memory_mb"] is not None
    printed = capsys.readouterr().out.splitlines()
    assert f"wall time: p50 {wall['p50_ms']:.3f} ms, p90 {wall['p90_ms']:.3f} ms" in printed[2]
    assert printed[4].startswith("growth of this process's resident memory")
    assert printed[5] == "operators: not available from this runtime"


def test_several_threads_have_no_cpu_time(file: Path, tmp_path: Path):
    command(file, "--runs=2", "--threads=2", f"--json={tmp_path / 'figures.json'}")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [latency["clock"] for latency in figures["latencies"]] == ["wall time"]
    assert figures["card"]["threads"] == 2


def test_a_phone(fake: FakePhone, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    fake.answer(devices=f"{OTHER}\n{PIXEL}", output="profile.txt", battery=(360,))
    options = ("--device=android_cpu", "--serial=R5CT", f"--benchmark_model={fake.program}", "--max_celsius=36")
    command(file, *options, "--runs=20", "--threads=4", f"--json={tmp_path / 'figures.json'}")
    timed, profiled = fake.calls("2>&1")
    assert {"--num_threads=4", "--use_xnnpack=true", "--num_runs=20"} <= set(timed)
    assert profiled == [*timed[:-1], "--enable_op_profiling=true", "--report_peak_memory_footprint=true", "2>&1"]
    figures = json.loads((tmp_path / "figures.json").read_text())
    (latency,) = figures["latencies"]
    assert latency == {
        "clock": "wall time",
        "min_ms": 1.239,
        "mean_ms": 1.2525,
        "p50_ms": 1.25,
        "p90_ms": None,
        "p95_ms": 1.281,
        "noise": None,
    }
    assert figures["memory_mb"] == 13.1797
    assert figures["card"]["device"] == "Pixel 7 (gs201), Android 14"
    assert figures["card"]["runs"] == 401
    assert figures["operators"][1] == {"type": "RESIZE_BILINEAR", "count": 2, "ms": 0.151}
    printed = capsys.readouterr().out
    assert "p90 not available from this runtime, p95 1.281 ms" in printed
    assert "delegate: TfLiteXNNPackDelegate: 20 of 22 nodes in 2 partitions" in printed
    assert printed.splitlines()[-3:] == [
        "operators inside the delegate:",
        "      0.800 ms    12 × Convolution (NHWC, F32) IGEMM",
        "      0.200 ms     8 × Add (ND, F32) Elementwise",
    ]


def test_a_phone_without_profile(fake: FakePhone, file: Path, capsys: pytest.CaptureFixture):
    command(file, "--device=android", f"--benchmark_model={fake.program}")
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "operators: not available from this runtime"
    assert (
        printed[3] == "peak memory of benchmark_model's process, sampled every 50 ms: not available from this runtime"
    )


def test_errors_are_one_line(fake: FakePhone, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert "0 files were given: name one TFLite file" in error(capsys)
    assert "missing.tflite: no such file" in error(capsys, tmp_path / "missing.tflite")
    shutil.copy(PRINTS / "gpu.txt", tmp_path / "text.tflite")
    assert "text.tflite: LiteRT cannot load this file" in error(capsys, tmp_path / "text.tflite")
    assert "needs TFLite's benchmark_model" in error(capsys, file, "--device=android")


def test_every_measuring_backend_has_a_command():
    assert set(BACKENDS) <= set(benchmark_tflite.DEVICES)
    assert set(ANDROID_DEVICES) <= set(BACKENDS)
