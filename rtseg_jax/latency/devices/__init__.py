"""Where models are timed: a file for each kind of backend, and here the devices by name."""

import difflib
import functools
from collections.abc import Callable
from pathlib import Path

from rtseg_jax.errors import UserError
from rtseg_jax.export.spec import FLOAT32, INTEGERS, JAX2TF
from rtseg_jax.latency.backend import MODELLED, Backend, FileBackend, unit_of
from rtseg_jax.latency.devices.analytic import DEVICE_FILES, Analytic, Device
from rtseg_jax.latency.devices.android import ANDROID_DEVICES, Android, AndroidSettings
from rtseg_jax.latency.devices.browser import BROWSER_DEVICES, Browser
from rtseg_jax.latency.devices.host_cpu import HostCpu
from rtseg_jax.latency.devices.host_gpu import HostGpu
from rtseg_jax.latency.devices.jax_module import JAX_DEVICES, JaxModule


def _android(device: str, threads: int, runs: int) -> Backend:
    return Android(device, AndroidSettings.of(device), threads, runs)


def _host_gpu(threads: int, runs: int) -> Backend:
    return HostGpu(runs)


def _analytic(path: Path, threads: int, runs: int) -> Backend:
    return Analytic(Device.load(path))


def _jax(device: str, threads: int, runs: int) -> Backend:
    return JaxModule(device, runs)


BACKENDS: dict[str, Callable[[int, int], Backend]] = {
    HostCpu.name: HostCpu,
    HostGpu.name: _host_gpu,
    **{device: functools.partial(_android, device) for device in ANDROID_DEVICES},
    **{device: functools.partial(Browser, device) for device in BROWSER_DEVICES},
}
"""Devices that time TFLite files, each of them a device of `benchmark_tflite` too."""

SWEEP_BACKENDS: dict[str, Callable[[int, int], Backend]] = {
    **{device: functools.partial(_analytic, path) for device, path in DEVICE_FILES.items()},
    **{device: functools.partial(_jax, device) for device in JAX_DEVICES},
}
"""Devices for sweeps and tables alone: they time nothing, or no files."""


TITLES = {
    HostCpu.name: "CPU of the host",
    HostGpu.name: "GPU of the host",
    "android": "phone, GPU",
    "android_gpu_fp32": "phone, GPU in float32",
    "android_cpu": "phone, CPU",
    "android_cpu_fp16": "phone, CPU in float16",
    "browser": "browser, GPU",
    "browser_fp16": "browser, GPU in float16",
    "browser_wasm": "browser, CPU",
    "jax": "JAX on the host",
    "jax_bfloat16": "JAX on the host, in bfloat16",
    **{device: f"{device}, modelled" for device in DEVICE_FILES},
}
"""Names for people."""


def check_device(device: str, setting: str = "config.latency.device") -> None:
    """Raises `UserError` for a device that nobody knows, with the nearest of those that there are."""
    known = BACKENDS | SWEEP_BACKENDS
    if device not in known:
        near = difflib.get_close_matches(device, known, n=1)
        meant = f"did you mean {near[0]!r}?" if near else "a phone that is connected is 'android';"
        raise UserError(f"{setting} is {device!r}, which is unknown; {meant} there are {', '.join(known)}")


def check_precision(device: str, precision: str, setting: str = "config.latency.precision") -> None:
    """Raises `UserError` where a device cannot tell what files in these numbers take."""
    if precision != FLOAT32 and device not in BACKENDS:
        raise UserError(
            f"{setting} is {precision!r}, but the device {device!r} times no files; take {FLOAT32}, or one of "
            f"{', '.join(BACKENDS)}"
        )
    if precision in INTEGERS and device in BROWSER_DEVICES:
        raise UserError(f"{setting} is {precision!r}: LiteRT.js, which runs files in a browser, takes no integers")


def make_backend(device: str, threads: int, runs: int, converter: str = JAX2TF, precision: str = FLOAT32) -> Backend:
    """The backend of a device; raises `UserError` for an unknown one.

    `converter` writes the files that it may take, in the numbers of `precision`.
    """
    check_device(device)
    check_precision(device, precision)
    backend = (BACKENDS | SWEEP_BACKENDS)[device](threads, runs)
    if isinstance(backend, FileBackend):
        backend.converter, backend.precision = converter, precision
    return backend


def unit_of_device(device: str) -> str:
    """What to call the milliseconds of a device that may not be connected now, see `backend.unit_of`."""
    return unit_of({"statistic": MODELLED if device in DEVICE_FILES else None})
