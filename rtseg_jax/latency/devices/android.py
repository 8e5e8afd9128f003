"""Phones: TFLite's `benchmark_model` times files on one, and `adb` carries them there.

Nothing here has touched a phone yet. It follows the source code of `benchmark_model` (the one that runs TFLite's
interpreter) and logs that others have published; its tests talk to a script that answers in that format.

What changes the meaning of a figure (processor, precision) is in the name of the device, and so in every card. Where
to find phone and program is not: flags of `benchmark_tflite` say it, or these variables, which reach child processes:

    ANDROID_SERIAL       the phone, if several are connected; adb reads it as well
    BENCHMARK_MODEL      the program, built for Android
    ANDROID_MAX_CELSIUS  a battery warmer than this is waited for
"""

import dataclasses
import hashlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from rtseg_jax.errors import UserError
from rtseg_jax.latency.backend import WARMUP, FileBackend, Refused, Timing
from rtseg_jax.latency.benchmark_model import Report, last_words, parse_report, unknown_flags

ANDROID_DEVICES = {
    "android": ("gpu", True),
    "android_gpu_fp32": ("gpu", False),
    "android_cpu": ("cpu", False),
    "android_cpu_fp16": ("cpu", True),
}
"""Processor, and whether it may compute in half precision; `android` is what apps get that ask for the GPU."""

FOLDER = "/data/local/tmp/rtseg_jax"  # the shell may write and execute below /data/local/tmp
PROGRAM = f"{FOLDER}/benchmark_model"
MODELS = f"{FOLDER}/models"

TIMEOUT_S = 900.0  # of one command
COOLING_STEP_S, COOLING_STEPS = 10.0, 90
MIN_WARMUP_S, MIN_MEASURED_S = 0.5, 0.5  # phones take that long to raise their clocks

HOW_TO_GET_ADB = "install Android's platform-tools (https://developer.android.com/tools/releases/platform-tools)"
HOW_TO_GET_PROGRAM = (
    "download https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/"
    "latest/android_aarch64_benchmark_model and name the file with --benchmark_model or BENCHMARK_MODEL"
)
AGAIN = "connect it anew and run the same command again, a sweep goes on where it was"


@dataclasses.dataclass(frozen=True)
class AndroidSettings:
    """How and where to measure.

    Attributes:
      processor: `gpu` or `cpu`.
      fp16: whether the runtime may compute in half precision; on the CPU it must.
      serial: of the phone; None where only one is connected.
      benchmark_model: TFLite's program, built for Android.
      max_celsius: a battery warmer than this is waited for.
    """

    processor: str
    fp16: bool
    serial: str | None = None
    benchmark_model: Path | None = None
    max_celsius: float = 35.0

    @staticmethod
    def of(device: str) -> "AndroidSettings":
        """Settings of a device's name, completed by environment variables."""
        processor, fp16 = ANDROID_DEVICES[device]
        settings = AndroidSettings(processor, fp16, serial=os.environ.get("ANDROID_SERIAL") or None)
        if program := os.environ.get("BENCHMARK_MODEL"):
            settings = dataclasses.replace(settings, benchmark_model=Path(program))
        if celsius := os.environ.get("ANDROID_MAX_CELSIUS"):
            settings = dataclasses.replace(settings, max_celsius=_celsius(celsius))
        return settings

    @property
    def precision(self) -> str:
        """For the card."""
        if self.fp16:
            return "float16" if self.processor == "cpu" else "float16 allowed"
        return "float32"

    def flags(self, threads: int) -> list[str]:
        """Flags of `benchmark_model`; where it is not told of XNNPACK, it leaves to it what the GPU refuses."""
        if self.processor == "gpu":
            delegate = ["--use_gpu=true", f"--gpu_precision_loss_allowed={_boolean(self.fp16)}"]
        else:
            delegate = ["--use_xnnpack=true", *(["--xnnpack_force_fp16=true"] if self.fp16 else [])]
        return [f"--num_threads={threads}", *delegate]


def _celsius(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"ANDROID_MAX_CELSIUS is {text!r}: it must be a temperature, such as 35") from error


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def adb(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `adb`, whatever it returns."""
    try:
        return subprocess.run(
            ["adb", *arguments], capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S
        )
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"adb was not found: {HOW_TO_GET_ADB}, then put adb on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"adb {' '.join(arguments)}: no answer in {TIMEOUT_S:.0f} s; {AGAIN}") from error


def connected() -> dict[str, str]:
    """State and description of every phone that adb knows, by serial number."""
    rows = [line.split(maxsplit=1) for line in adb("devices", "-l").stdout.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 2 and row[0] not in ("List", "*")}


def choose_phone(serial: str | None) -> "Phone":
    """The phone of that number, or the only one; raises `UserError` where there is none or a choice."""
    phones = connected()
    ready = [name for name, state in phones.items() if state.split()[0] == "device"]
    listed = "; ".join(f"{name} ({' '.join(state.split())})" for name, state in phones.items()) or "none"
    if serial is not None and serial not in ready:
        raise UserError(f"phone {serial} is not ready; adb knows: {listed}; connect it and allow USB debugging")
    if serial is None and not ready:
        raise UserError(f"no phone is ready; adb knows: {listed}; connect one and allow USB debugging")
    if serial is None and len(ready) > 1:
        raise UserError(f"several phones are connected: {listed}; choose one with --serial or ANDROID_SERIAL")
    return Phone(serial or ready[0])


@dataclasses.dataclass(frozen=True)
class Phone:
    """A connected phone."""

    serial: str

    def run(self, *arguments: str) -> str:
        """What an adb command prints; raises `UserError` where it fails."""
        result = adb("-s", self.serial, *arguments)
        if result.returncode:
            raise self.failure(" ".join(arguments[:2]), result.stdout + result.stderr)
        return result.stdout

    def failure(self, command: str, output: str) -> UserError:
        """What to tell of output that is not what it should be; asks whether the phone is still there."""
        state = adb("-s", self.serial, "get-state")
        if state.stdout.strip() != "device":
            said = last_words(state.stdout + state.stderr)
            return UserError(f"phone {self.serial} went away ({said}); {AGAIN}")
        return UserError(f"phone {self.serial}: {command} failed and said: {last_words(output)}")

    def property(self, name: str) -> str:
        """A system property."""
        return self.run("shell", "getprop", name).strip() or "unknown"

    def celsius(self) -> float:
        """Temperature of the battery, which every phone tells."""
        output = self.run("shell", "dumpsys", "battery")
        found = re.search(r"^\s*temperature:\s*(-?\d+)\s*$", output, re.MULTILINE)
        if not found:
            raise self.failure("dumpsys battery", output)
        return int(found[1]) / 10

    def description(self) -> str:
        """Model, chip and system."""
        model, platform = self.property("ro.product.model"), self.property("ro.board.platform")
        return f"{model} ({platform}), Android {self.property('ro.build.version.release')}"


class Android(FileBackend):
    """A phone's GPU or CPU.

    Files are sent in batches, in one go each. The minimum is what every version of `benchmark_model` tells, and other
    programs of the phone can only add to it.
    """

    def __init__(
        self,
        name: str,
        settings: AndroidSettings,
        threads: int = 1,
        runs: int = 15,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.name, self.settings, self.threads, self.runs = name, settings, threads, runs
        self._sleep = sleep
        self._program = program_of(settings)
        self.phone = choose_phone(settings.serial)
        self._sent: set[str] = set()
        self._program_sent = False

    def prepare(self, models: Sequence[bytes], rounds: int) -> None:
        """Sends files, which replace those that were sent before."""
        del rounds
        if not self._program_sent:
            self.phone.run("shell", "mkdir", "-p", FOLDER)
            self.phone.run("push", str(self._program), PROGRAM)
            self.phone.run("shell", "chmod", "755", PROGRAM)
            self._program_sent = True
        files = {digest(model): model for model in models}
        self.phone.run("shell", "rm", "-rf", MODELS)  # a folder that is there would receive the new one inside
        with tempfile.TemporaryDirectory() as directory:
            for name, model in files.items():
                Path(directory, f"{name}.tflite").write_bytes(model)
            self.phone.run("push", directory, MODELS)
        self._sent = set(files)

    def measure(self, model: bytes) -> Timing:
        """Times one model on random input."""
        report = self.report(model)
        typical = report.mean_ms if report.median_ms is None else report.median_ms
        return Timing(report.min_ms, report.runs, typical / report.min_ms - 1.0)

    def report(self, model: bytes, *more_flags: str) -> Report:
        """Runs one model on random input, as soon as the phone is cool."""
        if digest(model) not in self._sent:
            self.prepare([model], rounds=1)
        self._wait_until_cool()
        output = self.phone.run("shell", *self.command(model), *more_flags, "2>&1")
        report = parse_report(output)
        if report is None:
            raise self.phone.failure("benchmark_model", output)
        if unknown := unknown_flags(output):
            raise UserError(f"{self._program} does not know {unknown}: {HOW_TO_GET_PROGRAM}")
        if self.settings.processor == "gpu" and report.applied not in ("completely", "partially"):
            raise Refused(f"phone {self.phone.serial}: its GPU took no part of the model, so it was not measured")
        return report

    def command(self, model: bytes) -> list[str]:
        """What the phone runs for a model."""
        runs = [f"--warmup_runs={WARMUP}", f"--warmup_min_secs={MIN_WARMUP_S}"]
        runs += [f"--num_runs={self.runs}", f"--min_secs={MIN_MEASURED_S}"]
        return [PROGRAM, f"--graph={MODELS}/{digest(model)}.tflite", *runs, *self.settings.flags(self.threads)]

    def card(self) -> dict[str, Any]:
        """Says what a figure means."""
        delegate = {"gpu": "GPU delegate", "cpu": "XNNPACK"}[self.settings.processor]
        return {
            "device": self.phone.description(),
            "serial": self.phone.serial,
            "backend": self.name,
            "runtime": f"benchmark_model {digest(self._program.read_bytes())}, {delegate}",
            "precision": self.numbers(self.settings.precision),
            "threads": self.threads,
            "warmup": WARMUP,
            "runs": self.runs,
            "statistic": "minimum",
            "clock": "wall time",
        }

    def _wait_until_cool(self) -> None:
        for _ in range(COOLING_STEPS):
            celsius = self.phone.celsius()
            if celsius <= self.settings.max_celsius:
                return
            logging.log_every_n_seconds(logging.WARNING, "waiting for a phone of %.1f °C to cool down", 60, celsius)
            self._sleep(COOLING_STEP_S)
        raise UserError(
            f"phone {self.phone.serial} stays at {celsius:.1f} °C, above {self.settings.max_celsius:.1f}: cool it, or "
            "raise --max_celsius or ANDROID_MAX_CELSIUS"
        )


def program_of(settings: AndroidSettings) -> Path:
    """The program to send; raises `UserError` where it is not there."""
    program = settings.benchmark_model
    if program is None:
        raise UserError(f"measuring on a phone needs TFLite's benchmark_model: {HOW_TO_GET_PROGRAM}")
    if not program.is_file():
        raise UserError(f"{program}: no such file; {HOW_TO_GET_PROGRAM}")
    return program


def digest(content: bytes) -> str:
    """Names a file by its content."""
    return hashlib.sha256(content).hexdigest()[:16]
