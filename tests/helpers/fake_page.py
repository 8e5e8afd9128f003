"""What the page that measures does, without a browser: it registers, polls, and posts times that a formula makes up."""

import http.client
import json
import threading
import time
from typing import Any
from urllib.parse import urlsplit

DEVICE = {
    "agent": "Mozilla/5.0 (Linux; Android 14; Pixel 7) Chrome/150.0.0.0 Mobile",
    "browser": "Google Chrome 150",
    "platform": "Pixel 7 Android 14.0.0 arm",
    "renderer": "ANGLE (ARM, Mali-G710 MC10, OpenGL ES 3.2)",
    "build": "litert_wasm_threaded_internal",
    "threads": 4,
    "processors": 8,
    "gpu": {
        "vendor": "arm",
        "architecture": "valhall",
        "device": "",
        "description": "",
        "driver": "",
        "software": False,
        "fp16": True,
    },
}


def send(link: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """Status and content of a request to something beside the page."""
    parts = urlsplit(link)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=10)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, parts.path + path, body or None, given)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def post(link: str, path: str, value: Any) -> tuple[int, Any]:
    """Status and answer of a post; of a refusal its sentence."""
    status, content = send(link, "POST", path, json.dumps(value).encode(), Content_Type="application/json")
    return status, json.loads(content) if status == 200 else content.decode().strip()


def job(link: str) -> dict[str, Any]:
    """What is to be done."""
    status, content = send(link, "GET", "job.json")
    assert status == 200
    return json.loads(content)


class FakePage(threading.Thread):
    """A thread that measures: a model takes `ms(content, number of the task)` milliseconds, or fails with that text.

    Attributes:
      seen: jobs and tasks, in order.
    """

    def __init__(self, link: str, ms: Any, device: dict[str, Any] | None = None):
        super().__init__(daemon=True)
        self.link, self.ms, self.device = link, ms, device or DEVICE
        self.seen: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.ended = ""
        self.start()

    def run(self) -> None:
        """Until the command says that it is over."""
        status, answer = post(self.link, "device", self.device)
        assert status == 200, answer
        session = answer["session"]
        while True:
            now = job(self.link)
            if now["ended"]:
                self.ended = now["ended"]
                return
            for task in now["tasks"][:1]:
                self.seen.append((now, task))
                self.hand_in(session, task)
            if not now["tasks"]:
                time.sleep(0.002)

    def hand_in(self, session: int, task: dict[str, Any]) -> None:
        """Posts what a task took."""
        status, content = send(self.link, "GET", task["file"])
        assert status == 200
        ms = self.ms(content, task["number"])
        result = {"session": session, "number": task["number"], "model": task["model"]}
        if isinstance(ms, str):
            result |= {"failed": ms}
        else:
            # The same for every sample, but for one that something disturbed.
            result |= {"failed": None, "ms": [ms] * (task["runs"] - 1) + [3 * ms], "repeats": 1}
            time.sleep((task["runs"] + 2) * ms / 1e3)  # nobody can have measured more than has passed
        status, answer = post(self.link, "results", result)
        assert status == 200, answer
