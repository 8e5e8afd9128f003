"""Phones behind a script that answers in adb's place: what is sent and run, what is read, what happens when they go."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from fake_phone import FOLDER, LOCKED, OTHER, PIXEL, PRINTS, FakePhone
from synthetic import SPEC, block_ms, network_ms

from rtseg_jax.architecture import Block
from rtseg_jax.errors import UserError
from rtseg_jax.files import read_rows
from rtseg_jax.latency import LatencyModel, LatencySpec, sweep, turns
from rtseg_jax.latency.backend import BatchBackend, Timing
from rtseg_jax.latency.devices import make_backend
from rtseg_jax.latency.devices.android import (
    ANDROID_DEVICES,
    COOLING_STEPS,
    Android,
    AndroidSettings,
    choose_phone,
    digest,
)
from rtseg_jax.latency.devices.host_cpu import HostCpu
from rtseg_jax.latency.fitting import Fit
from rtseg_jax.latency.subjects import Subject
from rtseg_jax.latency.turns import in_turns

RUN = f"{FOLDER}/benchmark_model"
RUNS = ["--warmup_runs=3", "--warmup_min_secs=0.5", "--num_runs=15", "--min_secs=0.5"]
MODELS = [b"1.5", b"2.5", b"4"]
ECHO = (PRINTS / "gpu.txt").read_text().replace("min=20480", "min=@US@")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    phone = FakePhone(tmp_path / "adb")
    monkeypatch.setenv("PATH", phone.path)
    monkeypatch.setenv("BENCHMARK_MODEL", str(phone.program))
    for name in ("ANDROID_SERIAL", "ANDROID_MAX_CELSIUS"):
        monkeypatch.delenv(name, raising=False)
    return phone


def connect(device: str = "android", threads: int = 1, **settings) -> Android:
    return Android(device, dataclasses.replace(AndroidSettings.of(device), **settings), threads, sleep=no_sleep)


def no_sleep(seconds: float) -> None:
    raise AssertionError("nothing was to be waited for")


def command(model: bytes, *flags: str) -> list[str]:
    graph = f"--graph={FOLDER}/models/{digest(model)}.tflite"
    return ["-s", "R5CT", "shell", RUN, graph, *RUNS, *flags, "2>&1"]


def test_figures_are_those_of_the_print(fake: FakePhone):
    timing = connect().measure(MODELS[0])
    assert timing == Timing(20.48, 25, 20.736 / 20.48 - 1)
    fake.answer(output="cpu_old.txt")
    assert connect("android_cpu").measure(MODELS[0]) == Timing(1302.016, 15, 1304.02 / 1302.016 - 1)


@pytest.mark.parametrize(
    ("device", "flags"),
    [
        ("android", ["--num_threads=2", "--use_gpu=true", "--gpu_precision_loss_allowed=true"]),
        ("android_gpu_fp32", ["--num_threads=2", "--use_gpu=true", "--gpu_precision_loss_allowed=false"]),
        ("android_cpu", ["--num_threads=2", "--use_xnnpack=true"]),
        ("android_cpu_fp16", ["--num_threads=2", "--use_xnnpack=true", "--xnnpack_force_fp16=true"]),
    ],
)
def test_processor_and_precision_are_flags(fake: FakePhone, device: str, flags: list[str]):
    connect(device, threads=2).measure(MODELS[0])
    assert fake.calls(RUN, "2>&1") == [command(MODELS[0], *flags)]


def test_everything_that_is_called_for_one_model(fake: FakePhone):
    connect().measure(MODELS[0])
    *calls, push, cool, run = fake.calls()
    phone = ["-s", "R5CT"]
    assert calls == [
        ["devices", "-l"],
        [*phone, "shell", "mkdir", "-p", FOLDER],
        [*phone, "push", str(fake.program), RUN],
        [*phone, "shell", "chmod", "755", RUN],
        [*phone, "shell", "rm", "-rf", f"{FOLDER}/models"],
    ]
    assert (push[:3], push[4:]) == ([*phone, "push"], [f"{FOLDER}/models"])
    assert cool == [*phone, "shell", "dumpsys", "battery"]
    assert run == command(MODELS[0], "--num_threads=1", "--use_gpu=true", "--gpu_precision_loss_allowed=true")
    assert (fake.folder / "phone" / "models" / f"{digest(MODELS[0])}.tflite").read_bytes() == MODELS[0]
    assert (fake.folder / "phone" / "benchmark_model").read_bytes() == b"the program"


def test_a_batch_is_sent_in_one_go_and_measured_in_turns(fake: FakePhone):
    fake.print(ECHO)
    backend = connect()
    assert [timing.ms for timing in in_turns(backend, MODELS)] == [1.5, 2.5, 4.0]
    assert len(fake.calls("push")) == 2  # the program, the models
    graphs = [row[4].removeprefix(f"--graph={FOLDER}/models/") for row in fake.calls("2>&1")]
    assert graphs == [f"{digest(model)}.tflite" for model in MODELS] * turns.ROUNDS
    in_turns(backend, [b"8"])
    assert len(fake.calls("push")) == 3
    assert [path.name for path in (fake.folder / "phone" / "models").iterdir()] == [f"{digest(b'8')}.tflite"]


def test_only_phones_are_told_of_batches(fake: FakePhone):
    assert isinstance(connect(), BatchBackend)
    assert not isinstance(HostCpu(), BatchBackend)


def test_cards(fake: FakePhone):
    card = connect("android").card()
    assert card["device"] == "Pixel 7 (gs201), Android 14"
    assert card["serial"] == "R5CT"
    assert card["runtime"] == f"benchmark_model {digest(b'the program')}, GPU delegate"
    cards = [connect(device, threads=4).card() for device in ANDROID_DEVICES]
    assert [card["precision"] for card in cards] == ["float16 allowed", "float32", "float32", "float16"]
    assert [card["backend"] for card in cards] == list(ANDROID_DEVICES)
    assert {(card["threads"], card["runs"], card["statistic"], card["clock"]) for card in cards} == {
        (4, 15, "minimum", "wall time")
    }


def test_a_hot_phone_is_waited_for(fake: FakePhone):
    fake.answer(battery=(412, 371, 350))
    slept: list[float] = []
    Android("android", AndroidSettings.of("android"), sleep=slept.append).measure(MODELS[0])
    assert slept == [10.0, 10.0]
    assert len(fake.calls("battery")) == 3
    assert len(fake.calls("2>&1")) == 1


def test_a_phone_that_stays_hot_is_given_up(fake: FakePhone, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANDROID_MAX_CELSIUS", "30.5")
    fake.answer(battery=(306,))
    slept: list[float] = []
    backend = Android("android", AndroidSettings.of("android"), sleep=slept.append)
    monkeypatch.setattr(backend.phone.__class__, "celsius", lambda phone: 30.6)
    with pytest.raises(UserError, match=r"R5CT stays at 30\.6 °C, above 30\.5: .*--max_celsius"):
        backend.measure(MODELS[0])
    assert len(slept) == COOLING_STEPS
    assert fake.calls("2>&1") == []


def test_a_temperature_that_is_none_is_refused(fake: FakePhone, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANDROID_MAX_CELSIUS", "warm")
    with pytest.raises(UserError, match="ANDROID_MAX_CELSIUS is 'warm'"):
        connect()


def test_one_of_several_phones_is_chosen_by_its_number(fake: FakePhone, monkeypatch: pytest.MonkeyPatch):
    fake.answer(devices=f"{OTHER}\n{LOCKED}\n{PIXEL}")
    with pytest.raises(UserError, match=r"several phones .*emulator-5554 \(device.*9A271.*R5CT.*ANDROID_SERIAL"):
        connect()
    assert connect(serial="emulator-5554").phone.serial == "emulator-5554"
    monkeypatch.setenv("ANDROID_SERIAL", "R5CT")
    assert connect().phone.serial == "R5CT"
    with pytest.raises(UserError, match=r"phone 9A271 is not ready; adb knows: .*9A271 \(unauthorized"):
        connect(serial="9A271")
    fake.answer(devices=f"{LOCKED}\n{PIXEL}")
    assert choose_phone(None).serial == "R5CT"


@pytest.mark.parametrize(("devices", "listed"), [("", "none"), (LOCKED, r"9A271 \(unauthorized")])
def test_no_phone(fake: FakePhone, devices: str, listed: str):
    fake.answer(devices=devices)
    with pytest.raises(UserError, match=f"no phone is ready; adb knows: {listed}.*allow USB debugging"):
        connect()


def test_no_adb(fake: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="adb was not found: install Android's platform-tools"):
        make_backend("android", 1, 15)


def test_no_program(fake: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BENCHMARK_MODEL", str(tmp_path / "missing"))
    with pytest.raises(UserError, match=r"missing: no such file; download https://.*android_aarch64_benchmark_model"):
        make_backend("android", 1, 15)
    monkeypatch.delenv("BENCHMARK_MODEL")
    with pytest.raises(UserError, match=r"needs TFLite's benchmark_model: download .* --benchmark_model"):
        make_backend("android", 1, 15)
    assert fake.calls() == []


def test_a_model_that_cannot_be_run(fake: FakePhone):
    fake.print("INFO: STARTING!\nERROR: Op builtin_code out of range: 210.\nERROR: Registration failed.\n", status=1)
    with pytest.raises(UserError, match=r"phone R5CT: shell .*benchmark_model failed and said: ERROR: Registration"):
        connect().measure(MODELS[0])
    fake.print("INFO: STARTING!\nSegmentation fault\n", status=0)  # phones before Android 7 return no exit status
    with pytest.raises(UserError, match="phone R5CT: benchmark_model failed and said: Segmentation fault"):
        connect().measure(MODELS[0])


def test_a_gpu_that_took_nothing_was_not_measured(fake: FakePhone):
    fake.print("\n".join(line for line in ECHO.splitlines() if "Explicitly applied" not in line))
    with pytest.raises(UserError, match="its GPU took no part of the model"):
        connect().measure(MODELS[0])


def test_a_program_that_ignores_flags_is_refused(fake: FakePhone):
    fake.print(f"WARN: Unconsumed cmdline flags: --xnnpack_force_fp16=true\n{ECHO}")
    with pytest.raises(UserError, match="does not know --xnnpack_force_fp16=true: download https"):
        connect("android_cpu_fp16").measure(MODELS[0])


def formula_model(subject: Subject) -> bytes:
    declared = subject.declare()
    return json.dumps(block_ms(declared) if isinstance(declared, Block) else network_ms(declared)).encode()


def silent(done: int, total: int, text: str) -> None:
    pass


def test_a_sweep_goes_on_after_its_phone_went_away(fake: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Android, "build", lambda self, subject: formula_model(subject))
    monkeypatch.setattr(
        sweep, "fit", lambda measured, card, seed: Fit(LatencyModel({"spread": 0.0}, (), card, {}), {}, np.ones(1))
    )
    monkeypatch.setattr(turns, "ROUNDS", 2)
    monkeypatch.setattr(turns, "BATCH", 4)
    fake.print(ECHO)
    spec = LatencySpec(device="android", num_blocks=8, num_networks=1, num_unseen=0, image_size=(64, 128))
    setup = 1 + 3  # devices; model, system and chip for the card
    first_batch = 3 + 2 + 4 * 2 * 2  # the program; the models; temperature and run, for four models, twice
    fake.vanish_after(setup + first_batch + 2 + 4)
    with pytest.raises(UserError, match=r"phone R5CT went away \(error: device 'R5CT' not found\).*same command again"):
        sweep.sweep(SPEC, spec, tmp_path / "sweep", silent)
    measured = read_rows(tmp_path / "sweep" / "measurements.jsonl")
    assert len(measured) == 4

    fake.vanish_after(None)
    fake.forget()
    model = sweep.sweep(SPEC, spec, tmp_path / "sweep", silent).model
    rows = read_rows(tmp_path / "sweep" / "measurements.jsonl")
    assert rows[:4] == measured
    assert len(rows) == 9
    for row in rows:
        expected = int(json.loads(formula_model(Subject.from_json(row))) * 1000) / 1000
        assert row["timing"]["ms"] == expected
    assert len(fake.calls("2>&1")) == 2 * (9 - 4)
    assert len(fake.calls("push")) == 1 + 2  # the program; batches of four and of one
    assert model.card["device"] == "Pixel 7 (gs201), Android 14"
