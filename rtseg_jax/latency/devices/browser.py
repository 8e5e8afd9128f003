"""A browser that has opened a link: a page of `rtseg_jax.demo` times files there, with LiteRT.js, and posts the times.

So the GPU of a phone is measured without a cable, adb or an app. The name of the device says what the page runs on; how
the page is opened is not in it: flags of `measure_latency` and `benchmark_tflite` say that, or these variables, which
reach child processes:

    BROWSER_SHARE      1: for other devices of this network, over HTTPS
    BROWSER_PORT       where to listen; 8000 without it
    BROWSER_ADDRESS    with BROWSER_SHARE, this machine's address for the link
    BROWSER_PACKAGES   folder with LiteRT.js as npm packs it

Browsers have wall clocks only. Short models are run in a row until that takes `LEAST_MS`, all of them on inputs that
are on the accelerator and without reading the outputs: no block pays for copies that it does not have in a network.
"""

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging

from rtseg_jax.demo import opening
from rtseg_jax.demo.desk import MOST_RUNS, Desk, Failed, Result, Task, Values
from rtseg_jax.demo.litert_js import VERSION, litert_js
from rtseg_jax.demo.opening import Opening
from rtseg_jax.demo.server import LOOPBACK
from rtseg_jax.demo.sharing import new_token
from rtseg_jax.demo.site import MEASURING, measuring_site
from rtseg_jax.errors import UserError
from rtseg_jax.latency.backend import WARMUP, FileBackend, Refused, Report, Timing, timing_of

WASM = "wasm"
BROWSER_DEVICES = {"browser": "webgpu", "browser_fp16": "webgpu_fp16", "browser_wasm": WASM}
"""Accelerators as the page calls them: the GPU in float32, in float16, and the CPU."""

LEAST_MS = {False: 10.0, True: 1.0}  # of runs in a row that are timed together, on a GPU and on the CPU
WARM_MS = 200.0  # of runs before that: kernels are compiled better once they have been run often
THROTTLED = 1.1  # times what the reference took at first
SILENT_S = 20.0  # without a word of the page, until the user is told
LINGER_S = 1.0  # for the page to see that it is over

FINISHED = "All is measured. This page can be closed."
CUT_OFF = "The command has ended before all was measured. Run it again, a sweep goes on; open its new link."

VARIABLES = {
    "share": "BROWSER_SHARE",
    "port": "BROWSER_PORT",
    "address": "BROWSER_ADDRESS",
    "packages": "BROWSER_PACKAGES",
}


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags that say how the page is opened."""
    opening.define_flags(values, "Browser: ")


def use_flags(values: flags.FlagValues) -> None:
    """Puts what was given where backends look for it, those of child processes too."""
    given = {name: variable for name, variable in VARIABLES.items() if values[name].present}
    if given and values.device not in BROWSER_DEVICES:
        raise UserError(f"--{next(iter(given))} is for a browser: add --device=browser, or leave it out")
    if given:
        opening.opening_of(values)  # refuses what does not go together
    for name, variable in given.items():
        value = values[name].value
        os.environ[variable] = str(int(value)) if isinstance(value, bool) else str(value)


def opening_now() -> Opening:
    """What the variables say."""
    given = {name: os.environ[variable] for name, variable in VARIABLES.items() if os.environ.get(variable)}
    port = given.get("port", str(Opening.port))
    if not port.isdigit() or int(port) > opening.MOST_PORT:
        raise UserError(f"BROWSER_PORT is {port!r}: it must be a port, such as {Opening.port}, or 0 for any")
    packages = Path(given["packages"]) if "packages" in given else None
    return Opening(given.get("share", "0") != "0", int(port), given.get("address"), packages)


class Browser(FileBackend):
    """The GPU or the CPU of whatever opens the link.

    The slowest model of the first batch is the reference: it is timed again before every other batch, and where it
    takes `THROTTLED` times as long as at first, page and command say so.
    """

    def __init__(
        self,
        name: str,
        threads: int = 1,
        runs: int = 15,
        opened: Opening | None = None,
        say: Callable[[str], None] | None = None,
    ):
        """Listens, and tells the link.

        Args:
          name: one of `BROWSER_DEVICES`.
          threads: of the CPU.
          runs: samples of each model.
          opened: how; None for what the variables say.
          say: prints the link.
        """
        self.name, self.accelerator, self.threads, self.runs = name, BROWSER_DEVICES[name], threads, runs
        if runs > MOST_RUNS:
            raise UserError(f"{runs} runs are more than a browser posts at once: at most {MOST_RUNS}")
        opened = opened or opening_now()
        self._desk = Desk(
            measuring_site(litert_js(opened.packages)),
            {"accelerator": self.accelerator, "threads": threads},
            self._unfit,
        )
        self._open(opened, say or _say)
        self._report: Report | None = None
        self._place = (0, 1)
        self._measured: dict[str, deque[Timing]] = defaultdict(deque)
        self._reference: tuple[str, bytes, float] | None = None  # digest, file, milliseconds at first
        self.slowest = 1.0  # of the reference, over the first

    def _open(self, opened: Opening, say: Callable[[str], None]) -> None:
        posts = self._desk.posts
        if opened.share:
            opening.check_libraries()
            self.server, self.link, told = opening.share(opened, self._desk.files, MEASURING, posts, "the GPU")
        else:
            token = new_token()  # other users of this machine have no business here
            self.server = opening.listen(LOOPBACK, opened.port, self._desk.files, token, posts=posts)
            self.link = f"http://localhost:{self.server.port}/{token}/{MEASURING}"
            told = f"{self.link}  open it in the browser to be measured, on this machine; --share is for others"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()
        say(told)

    def close(self, finished: bool) -> None:
        """Ends the server; the page is told before."""
        self._desk.tell(ended=FINISHED if finished else CUT_OFF, warnings=self._warnings())
        if self._desk.session:
            time.sleep(LINGER_S)
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def following(self, report: Report) -> Report:
        """The report of a sweep that tells the page as well; links and pauses are told by it."""

        def told(done: int, total: int, text: str) -> None:
            self._place = done, total
            self._desk.tell(done=done, total=total, text=text, warnings=self._warnings())
            report(done, total, text)

        self._report = report
        return told

    def prepare(self, models: Sequence[bytes], rounds: int) -> None:
        """Measures all models, in turns; the reference before them, once there is one."""
        self.card()  # waits for the browser
        files = {self.digest(model): model for model in models}
        order = [self.digest(model) for model in models] * rounds
        if self._reference is None:
            timings = self._timed(order, files)
            best = {digest: min(t.ms for d, t in zip(order, timings, strict=True) if d == digest) for digest in files}
            slowest = max(files, key=best.__getitem__)
            self._reference = slowest, files[slowest], best[slowest]
        else:
            digest, content, _ = self._reference
            first, *timings = self._timed([digest, *order], {**files, digest: content})
            self._compare(first.ms)
        for digest, timing in zip(order, timings, strict=True):
            self._measured[digest].append(timing)

    def measure(self, model: bytes) -> Timing:
        """Times one model on noise; raises `Refused` where the browser cannot run it."""
        if not self._measured[self.digest(model)]:
            self.prepare([model], rounds=1)
        return self._measured[self.digest(model)].popleft()

    def run(self, order: Sequence[str], files: Mapping[str, bytes], *, copies: bool) -> list[Result]:
        """Samples of files, by digest, one after the other; `copies` as in `Task`."""
        tasks = [Task(digest, self.runs, copies, WARMUP, WARM_MS, LEAST_MS[self._on_cpu]) for digest in order]
        try:
            return self._desk.measured(tasks, files, self._waiting)
        except Failed as failure:
            raise Refused(f"{self.name}: the browser could not run a model: {failure}") from failure

    def _timed(self, order: Sequence[str], files: Mapping[str, bytes]) -> list[Timing]:
        return [_timing(result) for result in self.run(order, files, copies=False)]

    def card(self) -> dict[str, Any]:
        """Says what a figure means; waits for the browser to be opened."""
        device = self._desk.device(self._waiting)
        return {
            "device": self._device_name(device),
            "backend": self.name,
            "runtime": f"LiteRT.js {VERSION}, {'XNNPACK' if self._on_cpu else 'WebGPU'}, {device['browser']}",
            "precision": self.numbers("float16" if self.accelerator == "webgpu_fp16" else "float32"),
            "threads": self.threads if self._on_cpu else 1,
            "warmup": WARMUP,
            "runs": self.runs,
            "statistic": "minimum",
            "clock": f"wall time of runs in a row, {LEAST_MS[self._on_cpu]:.0f} ms at least, without copies",
            "browser": device,
            "reference": f"{100 * (self.slowest - 1):.0f} % slower at most than at first",
        }

    @property
    def _on_cpu(self) -> bool:
        return self.accelerator == WASM

    def _device_name(self, device: Values) -> str:
        if self._on_cpu:
            return f"CPU, processors for pages: {device['processors']} ({device['platform']}, {device['build']})"
        gpu = device["gpu"]
        names = dict.fromkeys(gpu[name] for name in ("vendor", "architecture", "device", "description", "driver"))
        name = " ".join(filter(None, names)) or "GPU of unknown make"
        renderer = f" ({device['renderer']})" if device["renderer"] else ""
        return f"{name}{renderer}{', in software' if gpu['software'] else ''}"

    def _unfit(self, device: Values) -> str | None:
        """Why a browser cannot be measured as this device."""
        gpu = device["gpu"]
        if self._on_cpu:
            if device["threads"] < self.threads:
                return f"This browser has {device['threads']} threads for pages; --threads={self.threads} was given."
            return None
        if gpu is None:
            return "This browser has no GPU for pages (WebGPU): open the link in another, or use --device=browser_wasm."
        if self.accelerator == "webgpu_fp16" and not gpu["fp16"]:
            return "This GPU has no float16 for pages (shader-f16): use --device=browser."
        return None

    def _compare(self, ms: float) -> None:
        """Warns where the reference takes longer than at first; a second look keeps what only came in between away."""
        assert self._reference is not None
        digest, content, at_first = self._reference
        if ms > THROTTLED * at_first:
            ms = min(ms, self._timed([digest], {digest: content})[0].ms)
        self.slowest = max(self.slowest, ms / at_first)
        if ms > THROTTLED * at_first:
            logging.warning("%s", _hot(ms / at_first))
        self._desk.tell(warnings=self._warnings())

    def _warnings(self) -> list[str]:
        return [_hot(self.slowest)] if self.slowest > THROTTLED else []

    def _waiting(self, seconds: float) -> None:
        """Is called while the page has not answered for so many seconds."""
        if self._report is None:
            return
        if self._desk.session == 0:
            self._report(*self._place, f"open {self.link}")
        elif seconds > SILENT_S:
            self._report(*self._place, f"no word of the page for {seconds:.0f} s; is it hidden? {self.link}")


def _say(text: str) -> None:
    print(text, flush=True)


def _timing(result: Result) -> Timing:
    """Of a sample of samples."""
    timing = timing_of([ms / 1e3 for ms in result.ms])
    return Timing(timing.ms, len(result.ms) * result.repeats, timing.noise)


def _hot(drift: float) -> str:
    """What to say of a reference that takes so many times as long as at first."""
    return (
        f"The reference network took up to {drift:.2f} times as long as at first: the device is hot, or does something "
        "else. Let it cool and measure anew what was measured since."
    )
