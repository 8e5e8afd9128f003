"""Times a TFLite file on this machine, on a phone or in a browser.

examples:
    rtseg_jax benchmark model.tflite --device=host_cpu --threads=1
    rtseg_jax benchmark model.tflite --device=browser --share
    rtseg_jax benchmark model.tflite --device=android --benchmark_model=android_aarch64_benchmark_model

Phones are `android` (GPU, half precision allowed), `android_gpu_fp32`, `android_cpu` and `android_cpu_fp16`. `browser`
prints a link: what opens it is measured, on its GPU (`browser_fp16` in float16) or on its CPU (`browser_wasm`). Figures
that a runtime does not give are printed as such, and are null in the file of `--json`.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from rtseg_jax.command_line import Command
from rtseg_jax.errors import UserError
from rtseg_jax.export.interpreter import load_interpreter
from rtseg_jax.files import check_place, write_json
from rtseg_jax.latency.benchmark_model import OperatorTime, Report
from rtseg_jax.latency.devices import browser
from rtseg_jax.latency.devices.android import ANDROID_DEVICES, Android, AndroidSettings
from rtseg_jax.latency.devices.host_cpu import HostCpu, fill_inputs
from rtseg_jax.latency.devices.host_gpu import HostGpu

NOT_AVAILABLE = "not available from this runtime"
BROWSER_MEMORY = "memory"
HOST_MEMORY = "growth of this process's resident memory, from before loading to its peak"
PHONE_MEMORY = "peak memory of benchmark_model's process, sampled every 50 ms"


@dataclasses.dataclass(frozen=True)
class Latency:
    """Milliseconds of the timed runs by one clock; None where the runtime does not tell.

    Attributes:
      clock: what they were timed by.
      noise: interquartile range over the median.
    """

    clock: str
    min_ms: float
    mean_ms: float
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    noise: float | None

    @staticmethod
    def of(clock: str, seconds: Sequence[float]) -> "Latency":
        """Of single runs."""
        ms = np.asarray(seconds) * 1e3
        p25, p50, p75, p90, p95 = (float(value) for value in np.percentile(ms, (25, 50, 75, 90, 95)))
        return Latency(clock, float(ms.min()), float(ms.mean()), p50, p90, p95, (p75 - p25) / p50)


@dataclasses.dataclass(frozen=True)
class Figures:
    """What was measured of a file.

    Attributes:
      card: device, runtime, precision, threads and runs.
      latencies: by every clock.
      memory: what `memory_mb` is.
      memory_mb: None where it is not known.
      delegates: which part of the graph they took.
      operators: profile of the graph, None where the runtime gives none.
      inside_delegate: profile of the delegate, likewise.
    """

    card: dict[str, Any]
    latencies: tuple[Latency, ...]
    memory: str
    memory_mb: float | None
    delegates: tuple[str, ...] = ()
    operators: tuple[OperatorTime, ...] | None = None
    inside_delegate: tuple[OperatorTime, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
      path: the file.
      device: name of a device.
      threads: of the runtime.
      runs: timed runs, at least.
      phone: settings that replace those of environment variables.
    """

    path: Path
    device: str
    threads: int
    runs: int
    phone: dict[str, Any]


def host_cpu(request: Request) -> Figures:
    """LiteRT on this machine's CPU.

    One thread is timed by its CPU time as well, which other programs of the machine do not lengthen. With several it
    would leave out those that the runtime started.
    """
    import ai_edge_litert.interpreter  # noqa: F401  (its memory is not the model's)

    backend = HostCpu(request.threads, request.runs)
    before = resident_mb()
    interpreter = load(request)
    fill_inputs(interpreter)
    for _ in range(backend.warmup):
        interpreter.invoke()
    wall, cpu = time_runs(interpreter.invoke, request.runs)
    latencies = [Latency.of("wall time", wall)]
    if request.threads == 1:
        latencies.append(Latency.of("CPU time of the thread", cpu))
    card = {**backend.card(), "precision": "float32, integers where the file is quantized"}
    del card["statistic"], card["clock"]  # of sweeps
    return Figures(card, tuple(latencies), HOST_MEMORY, growth_mb(before, resident_mb()))


def load(request: Request) -> Any:
    """An interpreter of the file; raises `UserError` where it is not a model."""
    try:
        return load_interpreter(request.path.read_bytes(), request.threads)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{request.path}: LiteRT cannot load this file ({' '.join(str(error).split())})") from error


def time_runs(run: Callable[[], object], runs: int) -> tuple[list[float], list[float]]:
    """Seconds of wall time and of the thread's CPU time of every run."""
    wall, cpu = [], []
    for _ in range(runs):
        wall_start, cpu_start = time.perf_counter(), time.thread_time()
        run()
        cpu.append(time.thread_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    return wall, cpu


def resident_mb() -> tuple[float, float] | None:
    """Resident memory of this process now and at its peak; None where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if not {"VmRSS", "VmHWM"} <= fields.keys():
        return None
    now, peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def growth_mb(before: tuple[float, float] | None, after: tuple[float, float] | None) -> float | None:
    """From what was resident before to the peak; to what is resident now where the peak is older."""
    if before is None or after is None:
        return None
    return (after[1] if after[1] > before[1] else after[0]) - before[0]


def host_gpu(request: Request) -> Figures:
    """LiteRT's GPU accelerator on this machine's adapter; copying pictures in and outputs out counts."""
    backend = HostGpu(request.runs)
    run = backend.run([request.path.read_bytes()])[0]
    seconds = [ms / 1e3 for ms in run.milliseconds[backend.warmup :]]
    card = {**backend.card(), "device": run.verdict.adapter}
    del card["statistic"], card["clock"]  # of sweeps
    return Figures(card, (Latency.of("wall time", seconds),), HOST_MEMORY, None, ("the GPU took all operators",))


def phone(request: Request) -> Figures:
    """A phone's GPU or CPU; memory and profile are of a run of their own, which they slow down."""
    settings = dataclasses.replace(AndroidSettings.of(request.device), **request.phone)
    backend = Android(request.device, settings, request.threads, request.runs)
    model = request.path.read_bytes()
    timed = backend.report(model)
    card = {**backend.card(), "runs": timed.runs}
    del card["statistic"], card["clock"]  # of sweeps
    profiled = backend.report(model, "--enable_op_profiling=true", "--report_peak_memory_footprint=true")
    return Figures(
        card,
        (phone_latency(timed),),
        PHONE_MEMORY,
        profiled.peak_mb,
        timed.delegated,
        profiled.operators or None,
        profiled.inside_delegate or None,
    )


def phone_latency(report: Report) -> Latency:
    """`benchmark_model` tells neither single runs nor quartiles."""
    return Latency("wall time", report.min_ms, report.mean_ms, report.median_ms, None, report.p95_ms, None)


def in_browser(request: Request) -> Figures:
    """What opens the link: single runs with copies in and out, as a page has them, and runs in a row without."""
    model = request.path.read_bytes()
    backend, finished = browser.Browser(request.device, request.threads, request.runs), False
    try:
        digest = backend.digest(model)
        card = backend.card()
        (single,) = backend.run([digest], {digest: model}, copies=True)
        (in_a_row,) = backend.run([digest], {digest: model}, copies=False)
        finished = True
    finally:
        backend.close(finished)
    results = {"wall time with copies": single, f"wall time of {in_a_row.repeats} in a row": in_a_row}
    latencies = tuple(Latency.of(clock, [ms / 1e3 for ms in result.ms]) for clock, result in results.items())
    for name in ("statistic", "clock", "reference"):  # of sweeps
        del card[name]
    taken = () if request.device == "browser_wasm" else ("the GPU took all operators",)
    return Figures(card, latencies, BROWSER_MEMORY, None, taken)


DEVICES: dict[str, Callable[[Request], Figures]] = {
    "host_cpu": host_cpu,
    "host_gpu": host_gpu,
    **dict.fromkeys(ANDROID_DEVICES, phone),
    **dict.fromkeys(browser.BROWSER_DEVICES, in_browser),
}


def benchmark(request: Request) -> Figures:
    """Measures; raises `UserError` where there is no such file, or it cannot be measured."""
    if not request.path.is_file():
        raise UserError(f"{request.path}: no such file; convert_tflite writes one")
    return DEVICES[request.device](request)


def text(path: Path, figures: Figures) -> str:
    """What the command prints."""
    card = figures.card
    lines = [
        f"{path} on {card['device']}",
        f"{card['runtime']}; {card['precision']}; threads: {card['threads']}; runs: {card['runs']}",
        *(latency_text(latency) for latency in figures.latencies),
        f"{figures.memory}: {_number(figures.memory_mb, '.1f', ' MB')}",
        *(f"delegate: {delegate}" for delegate in figures.delegates),
        *profile_text("operators", figures.operators),
    ]
    if figures.inside_delegate is not None:
        lines += profile_text("operators inside the delegate", figures.inside_delegate)
    return "\n".join(lines)


def latency_text(latency: Latency) -> str:
    """One line for one clock."""
    percentiles = {"p50": latency.p50_ms, "p90": latency.p90_ms, "p95": latency.p95_ms}
    milliseconds = partial(_number, form=".3f", unit=" ms")
    numbers = ", ".join(f"{name} {milliseconds(value)}" for name, value in percentiles.items())
    noise = _number(None if latency.noise is None else 100 * latency.noise, ".1f", " %")
    return (
        f"{latency.clock}: {numbers}, least {milliseconds(latency.min_ms)}, mean {milliseconds(latency.mean_ms)}, "
        f"noise {noise}"
    )


def profile_text(title: str, operators: Sequence[OperatorTime] | None) -> list[str]:
    """A line for every type of operator, the slowest first."""
    if operators is None:
        return [f"{title}: {NOT_AVAILABLE}"]
    slowest = sorted(operators, key=lambda operator: -operator.ms)
    return [f"{title}:", *(f"  {row.ms:9.3f} ms  {row.count:4d} × {row.type}" for row in slowest)]


def _number(value: float | None, form: str, unit: str) -> str:
    return NOT_AVAILABLE if value is None else f"{value:{form}}{unit}"


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags."""
    text, number = partial(flags.DEFINE_string, flag_values=values), partial(flags.DEFINE_integer, flag_values=values)
    flags.DEFINE_enum("device", "host_cpu", list(DEVICES), "Where to measure.", flag_values=values)
    number("threads", 1, "Threads of the runtime.", lower_bound=1)
    number("runs", 50, "Timed runs, at least.", lower_bound=1)
    text("json", None, "FILE: where to write the figures as well.")
    text("serial", None, "Phone, if several are connected; default: ANDROID_SERIAL.")
    text("benchmark_model", None, "FILE: program for the phone; default: BENCHMARK_MODEL.")
    flags.DEFINE_float("max_celsius", None, "A phone warmer than this is waited for; default: 35.", flag_values=values)
    browser.define_flags(values)


def main(words: list[str], values: flags.FlagValues) -> None:
    """Measures and prints."""
    request = request_of(words, values)
    browser.use_flags(values)
    if values.json:
        check_place(Path(values.json), "--json")
    figures = benchmark(request)
    print(text(request.path, figures))
    if values.json:
        write_json(Path(values.json), {"file": request.path.name, **dataclasses.asdict(figures)})


def request_of(files: Sequence[str], values: flags.FlagValues) -> Request:
    """What the command line asks for."""
    if len(files) != 1:
        raise UserError(f"{len(files)} files were given: name one TFLite file")
    program = Path(values.benchmark_model) if values.benchmark_model else None
    settings = {"serial": values.serial, "benchmark_model": program, "max_celsius": values.max_celsius}
    given = {name: value for name, value in settings.items() if value is not None}
    return Request(Path(files[0]), values.device, values.threads, values.runs, given)


COMMAND = Command(__doc__ or "", define_flags, main, words="FILE")


def run() -> None:
    """Entry point of the module and of the installed program."""
    COMMAND.start()


if __name__ == "__main__":
    run()
