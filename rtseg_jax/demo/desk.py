"""The desk of a page that measures: hands out files to be timed, takes in what a browser posts, and refuses the rest.

What is posted comes from a stranger until it has been checked: a post that is refused changes nothing. The page polls
`JOB`, a file of the table; there is no other state than this object's.
"""

import dataclasses
import json
import math
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any

from rtseg_jax.demo.server import BadPost, Endpoint
from rtseg_jax.demo.site import KINDS, MEASURING, File

JOB, MODELS_AT = f"{MEASURING}job.json", f"{MEASURING}models/"
DEVICE, RESULTS = f"{MEASURING}device", f"{MEASURING}results"

MOST_DEVICE_BYTES, MOST_RESULT_BYTES = 1 << 13, 1 << 18
MOST_RUNS = 10_000  # of a task: more would not fit into a post
MOST_REPEATS = 100_000  # runs in a row that are timed together
MOST_MS = 600_000.0  # of a run
MOST_TEXT = 600  # characters
MOST_COUNT = 4096  # threads, processors
CLOCKS_DIFFER = 1.05  # the browser's clock and this one

Values = dict[str, Any]
"""Plain values, as JSON has them."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What is to be timed.

    Attributes:
      model: digest of the file.
      runs: samples to be timed.
      copies: whether a sample is one run with its inputs copied in and its outputs copied out; else as many runs in a
        row as take `least_ms`, on inputs that are where the network reads them.
      warmup: runs before that, at least.
      warm_ms: what they take together, at least: a browser compiles what is often run anew, and better.
      least_ms: of a sample of runs in a row.
    """

    model: str
    runs: int
    copies: bool
    warmup: int
    warm_ms: float
    least_ms: float


@dataclasses.dataclass(frozen=True)
class Result:
    """What a browser measured.

    Attributes:
      ms: of a run, by sample.
      repeats: runs in a sample.
    """

    ms: tuple[float, ...]
    repeats: int


class Failed(Exception):
    """The browser could not time a file; what it said."""


class Desk:
    """Work for one browser at a time, and what it made of it.

    Attributes:
      files: table that the server hands out from; the desk keeps its job and the files to be timed there.
      posts: endpoints for the server.
      session: how often a browser has registered; the last one counts.
    """

    def __init__(
        self,
        files: MutableMapping[str, File],
        settings: Values,
        admit: Callable[[Values], str | None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """A desk that waits for a browser.

        Args:
          files: see above.
          settings: what the page must know besides, such as the accelerator.
          admit: says why a browser cannot do the work, or None.
          clock: seconds.
        """
        self.files = files
        self.posts = {
            DEVICE: Endpoint(self._take_device, MOST_DEVICE_BYTES),
            RESULTS: Endpoint(self._take_result, MOST_RESULT_BYTES),
        }
        self._settings, self._admit, self._clock = settings, admit, clock
        self._changed = threading.Condition()
        self._device: Values | None = None
        self.session = 0
        self._first = 0  # number of the first task of the batch
        self._tasks: list[Task] = []
        self._results: dict[int, Result] = {}
        self._failed: str | None = None
        self._given = self._heard = clock()
        self._claimed = 0.0  # milliseconds of the batch that results tell of
        self._progress: Values = {"done": 0, "total": 0, "text": "", "warnings": [], "ended": ""}
        self._publish()

    # ---- the command's side

    def device(self, waiting: Callable[[float], None]) -> Values:
        """What the browser says of itself; waits for one. `waiting` is called now and then with the seconds so far."""
        with self._changed:
            self._wait(lambda: self._device is not None, waiting)
            return dict(self._device or {})

    def measured(
        self, tasks: Sequence[Task], models: Mapping[str, bytes], waiting: Callable[[float], None]
    ) -> list[Result]:
        """Gives out tasks and waits for their results, in the same order; `models` are the files by digest.

        Raises:
          Failed: the browser could not do one of them.
        """
        with self._changed:
            self._first += len(self._tasks)
            self._tasks, self._results, self._failed = list(tasks), {}, None
            self._given, self._claimed = self._clock(), 0.0
            places = {_place(model): File(content, KINDS[".tflite"]) for model, content in models.items()}
            for old in [name for name in self.files if name.startswith(MODELS_AT) and name not in places]:
                del self.files[old]
            self.files.update(places)
            self._publish()
            self._wait(lambda: self._failed is not None or len(self._results) == len(tasks), waiting)
            if self._failed is not None:
                raise Failed(self._failed)
            return [self._results[number] for number in range(self._first, self._first + len(tasks))]

    def tell(self, **progress: Any) -> None:
        """Changes what the page shows: `done` and `total` units of work, `text`, `warnings`, and at last `ended`."""
        with self._changed:
            self._progress |= progress
            self._publish()

    def _wait(self, ready: Callable[[], bool], waiting: Callable[[float], None]) -> None:
        """With the lock; in short steps, so that Ctrl-C ends it."""
        self._heard = self._clock()
        while not ready():
            waiting(self._clock() - self._heard)
            self._changed.wait(timeout=0.5)

    def _publish(self) -> None:
        left = [
            {"number": number, "file": _place(task.model).removeprefix(MEASURING), **dataclasses.asdict(task)}
            for number, task in enumerate(self._tasks, start=self._first)
            if number not in self._results and self._failed is None
        ]
        job = {**self._settings, **self._progress, "session": self.session, "tasks": left}
        self.files[JOB] = File(json.dumps(job).encode(), KINDS[".json"])

    # ---- the browser's side

    def _take_device(self, value: Any) -> Values:
        """A browser that wants to measure: it gets a session, and the one before it loses its own."""
        device = _checked_device(value)
        with self._changed:
            if self._device is not None and device != self._device:
                raise BadPost(HTTPStatus.CONFLICT, "Another browser or device is being measured; reload it there.")
            if (reason := self._admit(device)) is not None:
                raise BadPost(HTTPStatus.UNPROCESSABLE_ENTITY, reason)
            self._device = device
            self.session += 1
            self._heard = self._clock()
            self._publish()
            self._changed.notify_all()
            return {"session": self.session}

    def _take_result(self, value: Any) -> Values:
        """A result, or why there is none."""
        fields = _fields(value, {"session": int, "number": int, "model": str, "failed": (str, type(None))}, more=True)
        with self._changed:
            if self._device is None or fields["session"] != self.session:
                raise BadPost(HTTPStatus.CONFLICT, "Another tab measures now; reload this one to go on here.")
            place = fields["number"] - self._first
            if not 0 <= place < len(self._tasks) or fields["number"] in self._results or self._failed is not None:
                raise BadPost(HTTPStatus.CONFLICT, "This was not asked for, or has been handed in.")
            task = self._tasks[place]
            if fields["model"] != task.model:
                raise BadPost(HTTPStatus.CONFLICT, "This is not the model that was to be measured.")
            if fields["failed"] is not None:
                self._failed = _text(fields["failed"])
            else:
                self._results[fields["number"]] = self._checked_result(value, task)
            self._heard = self._clock()
            self._publish()
            self._changed.notify_all()
            return {}

    def _checked_result(self, value: Any, task: Task) -> Result:
        """Numbers that can be: as many as were asked for, and no more time than has passed."""
        wanted = {"session": int, "number": int, "model": str, "failed": type(None), "ms": list, "repeats": int}
        fields = _fields(value, wanted)
        ms, repeats = fields["ms"], fields["repeats"]
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) and 0 < x <= MOST_MS for x in ms)
        if len(ms) != task.runs or not numbers or not 1 <= repeats <= (1 if task.copies else MOST_REPEATS):
            raise BadPost(HTTPStatus.UNPROCESSABLE_ENTITY, "These numbers cannot be.")
        claimed = self._claimed + math.fsum(ms) * repeats
        if claimed > CLOCKS_DIFFER * 1e3 * (self._clock() - self._given):
            raise BadPost(HTTPStatus.UNPROCESSABLE_ENTITY, "That is more time than has passed.")
        self._claimed = claimed
        return Result(tuple(map(float, ms)), repeats)


def _place(model: str) -> str:
    """Where a model is handed out."""
    return f"{MODELS_AT}{model}.tflite"


def _fields(value: Any, wanted: Mapping[str, Any], more: bool = False) -> Values:
    """The fields of an object, all of them and of these types; others only where `more` are allowed."""
    if not isinstance(value, dict) or not wanted.keys() <= value.keys() or not (more or value.keys() <= wanted.keys()):
        raise BadPost(HTTPStatus.BAD_REQUEST, "Other fields were expected.")
    for name, kind in wanted.items():
        if not isinstance(value[name], kind) or (isinstance(value[name], bool) and kind is not bool):
            raise BadPost(HTTPStatus.BAD_REQUEST, "Other types were expected.")
    return {name: value[name] for name in wanted}


def _text(value: str) -> str:
    """One line that can be printed: what comes from outside must not steer a terminal."""
    line = " ".join(value.split())
    if len(line) > MOST_TEXT or not line.isprintable():
        raise BadPost(HTTPStatus.BAD_REQUEST, "This text cannot be printed.")
    return line


TEXTS = ("agent", "browser", "platform", "renderer", "build")
GPU_TEXTS = ("vendor", "architecture", "device", "description", "driver")


def _checked_device(value: Any) -> Values:
    """What a browser says of itself."""
    wanted = {**dict.fromkeys(TEXTS, str), "threads": int, "processors": int, "gpu": (dict, type(None))}
    fields = _fields(value, wanted)
    if not all(1 <= fields[name] <= MOST_COUNT for name in ("threads", "processors")):
        raise BadPost(HTTPStatus.UNPROCESSABLE_ENTITY, "These numbers cannot be.")
    gpu = fields["gpu"]
    if gpu is not None:
        gpu = _fields(gpu, {**dict.fromkeys(GPU_TEXTS, str), "software": bool, "fp16": bool})
        gpu |= {name: _text(gpu[name]) for name in GPU_TEXTS}
    return {**fields, **{name: _text(fields[name]) for name in TEXTS}, "gpu": gpu}
