"""Posts to the page that measures: those that cannot be are refused with a status, and change nothing."""

import http.client
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from fake_page import DEVICE, job, post, send

from rtseg_jax.demo.desk import JOB, MOST_RESULT_BYTES, Desk, Failed, Result, Task
from rtseg_jax.demo.server import LOOPBACK, DemoServer
from rtseg_jax.demo.sharing import new_token
from rtseg_jax.demo.site import MEASURING, measuring_site

MODELS = {"a" * 64: b"one", "b" * 64: b"two"}
TASKS = [Task("a" * 64, 3, True, 1, 9.0, 5.0), Task("b" * 64, 2, False, 1, 9.0, 5.0)]


class Served:
    """A desk with its server and two tasks that somebody waits for."""

    def __init__(self):
        self.seconds = 0.0
        self.reason = None
        self.desk = Desk(measuring_site({}), {"accelerator": "wasm"}, lambda device: self.reason, lambda: self.seconds)
        self.server = DemoServer((LOOPBACK, 0), self.desk.files, new_token(), posts=self.desk.posts)
        self.link = f"http://{LOOPBACK}:{self.server.port}/{self.server.token}/{MEASURING}"
        self.found = None
        self.threads = [
            threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}),
            threading.Thread(target=self.wait),
        ]
        for thread in self.threads:
            thread.start()
        while len(job(self.link)["tasks"]) < len(TASKS):
            pass

    def wait(self):
        try:
            self.found = self.desk.measured(TASKS, MODELS, lambda seconds: None)
        except Failed as failure:
            self.found = str(failure)

    def state(self):
        """Everything that a post could change."""
        kept = {name: repr(value) for name, value in vars(self.desk).items() if name not in ("_changed", "files")}
        return kept, {name: file.tag for name, file in self.desk.files.items()}

    def post(self, path, value):
        return post(self.link, path, value)

    def result(self, number=0, **changed):
        value = {"session": 1, "number": number, "model": TASKS[number == 1].model, "failed": None}
        value |= {"ms": [1.5] * TASKS[number == 1].runs, "repeats": 1} | changed
        return {name: entry for name, entry in value.items() if entry != "left out"}


@pytest.fixture
def served():
    served = Served()
    yield served
    with served.desk._changed:  # nobody is left waiting
        served.desk._failed = "over"
        served.desk._changed.notify_all()
    served.server.shutdown()
    served.server.server_close()
    for thread in served.threads:
        thread.join()


def test_two_tasks(served):
    assert send(served.link, "GET", "")[1].startswith(b"<!doctype html>")
    assert served.post("device", DEVICE) == (200, {"session": 1})
    first, second = job(served.link)["tasks"]
    wanted = {"number": 0, "file": f"models/{'a' * 64}.tflite", "model": "a" * 64, "runs": 3, "copies": True}
    assert first == wanted | {"warmup": 1, "warm_ms": 9.0, "least_ms": 5.0}
    assert send(served.link, "GET", second["file"]) == (200, b"two")
    served.seconds = 1.0
    assert served.post("results", served.result(1, ms=[4, 2.5], repeats=100)) == (200, {})  # 650 ms of 1000
    assert job(served.link)["tasks"] == [first]
    assert served.found is None
    assert served.post("results", served.result(0, ms=[1.0, 2.0, 3.0])) == (200, {})
    served.threads[1].join()
    assert served.found == [Result((1.0, 2.0, 3.0), 1), Result((4.0, 2.5), 100)]
    assert served.desk.device(print)["gpu"]["architecture"] == "valhall"


BAD_RESULTS = [
    ({"model": "b" * 64}, 409, "This is not the model that was to be measured."),
    ({"model": "../../etc/passwd"}, 409, "This is not the model that was to be measured."),
    ({"session": 0}, 409, "Another tab measures now; reload this one to go on here."),
    ({"session": True}, 400, "Other types were expected."),
    ({"number": -1}, 409, "This was not asked for, or has been handed in."),
    ({"number": 10**400}, 409, "This was not asked for, or has been handed in."),
    ({"number": 0.0}, 400, "Other types were expected."),
    ({"ms": [1.5] * 2}, 422, "These numbers cannot be."),
    ({"ms": [1.5, 1.5, 0.0]}, 422, "These numbers cannot be."),
    ({"ms": [1.5, 1.5, -1.0]}, 422, "These numbers cannot be."),
    ({"ms": [1.5, 1.5, float("nan")]}, 422, "These numbers cannot be."),
    ({"ms": [1.5, 1.5, float("inf")]}, 422, "These numbers cannot be."),
    ({"ms": [1.5, 1.5, "1"]}, 422, "These numbers cannot be."),
    ({"ms": [1.5, 1.5, True]}, 422, "These numbers cannot be."),
    ({"ms": [1.5, 1.5, 600_001]}, 422, "These numbers cannot be."),
    ({"ms": [400.0] * 3}, 422, "That is more time than has passed."),
    ({"ms": {"0": 1.5}}, 400, "Other types were expected."),
    ({"ms": "left out"}, 400, "Other fields were expected."),
    ({"more": 1}, 400, "Other fields were expected."),
    ({"repeats": 0}, 422, "These numbers cannot be."),
    ({"repeats": 2}, 422, "These numbers cannot be."),  # a sample with copies is one run
    ({"failed": "one\x1b[2Jtwo"}, 400, "This text cannot be printed."),
    ({"failed": "\ud800"}, 400, "This text cannot be printed."),
    ({"failed": "x" * 601}, 400, "This text cannot be printed."),
    ({"failed": 1}, 400, "Other types were expected."),
]
BAD_DEVICES = [
    ({"agent": "\x07"}, 400, "This text cannot be printed."),
    ({"agent": None}, 400, "Other types were expected."),
    ({"threads": 0}, 422, "These numbers cannot be."),
    ({"processors": 10**9}, 422, "These numbers cannot be."),
    ({"gpu": {}}, 400, "Other fields were expected."),
    ({"gpu": DEVICE["gpu"] | {"software": 0}}, 400, "Other types were expected."),
    ({"gpu": DEVICE["gpu"] | {"vendor": "\u202e"}}, 400, "This text cannot be printed."),
    ({"gpu": "Mali"}, 400, "Other types were expected."),
    ({"more": 1}, 400, "Other fields were expected."),
    ({"platform": "another"}, 409, "Another browser or device is being measured; reload it there."),
]


def test_bad_posts_change_nothing(served):
    served.post("device", DEVICE)
    served.seconds = 1.0
    before = served.state()
    for changed, status, sentence in BAD_RESULTS:
        assert served.post("results", served.result(**changed)) == (status, sentence), changed
    for changed, status, sentence in BAD_DEVICES:
        assert served.post("device", DEVICE | changed) == (status, sentence), changed
    for value in (None, [], 1, "text", {}, [DEVICE]):
        for path in ("device", "results"):
            assert served.post(path, value) == (400, "Other fields were expected.")
    assert served.state() == before
    served.post("results", served.result(0))
    assert served.post("results", served.result(0))[0] == 409  # handed in before
    # What both have taken counts: 4.5 ms before, and 998 ms more do not fit into 1.05 s.
    assert served.post("results", served.result(1, ms=[500, 549]))[0] == 422
    assert served.post("results", served.result(1, ms=[500, 545]))[0] == 200


def test_a_browser_that_cannot_do_it_is_told_why(served):
    served.reason = "This browser has no GPU."
    before = served.state()
    assert served.post("device", DEVICE) == (422, "This browser has no GPU.")
    assert served.state() == before


def test_a_file_that_cannot_be_run(served):
    served.post("device", DEVICE)
    assert served.post("results", served.result(0, failed="no  such\noperator")) == (200, {})
    served.threads[1].join()
    assert served.found == "no such operator"
    assert served.post("results", served.result(1))[0] == 409
    assert job(served.link)["tasks"] == []


def test_the_last_tab_counts_and_files_of_before_are_gone(served):
    assert [served.post("device", DEVICE) for _ in range(2)] == [(200, {"session": 1}), (200, {"session": 2})]
    served.seconds = 1.0
    assert served.post("results", served.result(0))[0] == 409
    for number in range(2):
        assert served.post("results", served.result(number, session=2)) == (200, {})
    served.threads[1].join()
    more = threading.Thread(target=served.desk.measured, args=([TASKS[1]], {"b" * 64: b"two"}, lambda seconds: None))
    more.start()
    while not job(served.link)["tasks"]:
        pass
    assert send(served.link, "GET", f"models/{'a' * 64}.tflite")[0] == 404
    (task,) = job(served.link)["tasks"]
    assert task["number"] == 2
    served.seconds = 2.0
    result = {"session": 2, "number": 2, "model": "b" * 64, "failed": None, "ms": [1, 1], "repeats": 7}
    assert served.post("results", result) == (200, {})
    more.join()


def test_token_type_and_length_of_posts(served):
    body, json_type = json.dumps(DEVICE).encode(), {"Content_Type": "application/json"}
    before = served.state()
    root = served.link.rsplit("/", 3)[0]
    for link in (f"{root}/{MEASURING}", f"{root}/{served.server.token[:-1]}/{MEASURING}"):
        assert send(link, "POST", "device", body, **json_type)[0] == 404
        assert send(link, "GET", "job.json")[0] == 404
    link = served.link
    assert send(link, "POST", "device?x", body, **json_type)[0] == 405
    assert send(link, "POST", "job.json", body, **json_type)[0] == 405
    assert send(link, "PUT", "device", body, **json_type)[0] == 405
    assert send(link, "OPTIONS", "device")[0] == 405  # what a browser asks first for a page of another site
    assert send(link, "GET", "device")[0] == 404
    assert send(link, "POST", "device", body)[0] == 415
    assert send(link, "POST", "device", body, Content_Type="text/plain")[0] == 415
    assert send(link, "POST", "device", body, **json_type, Transfer_Encoding="chunked")[0] == 411
    for length, status in (("-1", 411), ("1e3", 411), ("²", 411), ("9" * 30, 413), (str(MOST_RESULT_BYTES + 1), 413)):
        assert send(link, "POST", "results", b"", **json_type, Content_Length=length)[0] == status, length
    for text in (b"{", b"[" * 8000, b"\xff", b"1e", b"9" * 5000, b"{}x"):
        assert send(link, "POST", "results", text, **json_type)[0] == 400, text[:9]
    assert served.state() == before
    assert send(link, "POST", "device", body, **json_type)[0] == 200


def strange(rng, depth=0):
    """A value that JSON can have."""
    simple = [None, True, -1, 0, 1, 2**70, 0.5, -1e308, float("nan"), float("inf"), "", "x" * 700, "\x1b[0m", "\ud83d",
              "../x", [], {}, *DEVICE]  # fmt: skip
    if depth > 3 or rng.random() < 0.6:
        return simple[rng.integers(len(simple))]
    values = [strange(rng, depth + 1) for _ in range(rng.integers(0, 4))]
    return values if rng.random() < 0.5 else dict(zip("abcd", values, strict=False))


def spoiled(rng, value):
    """A post that is right but for one or two fields."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.integers(1, 3)):
        name = list(value)[rng.integers(len(value))]
        if rng.random() < 0.3:
            del value[name]
        else:
            value[name] = strange(rng)
        if not value:
            break
    return value


def test_fuzzing(served, capfd, tmp_path, monkeypatch):
    """Nothing that is wrong is taken, nothing is served or written, and the server answers afterwards as before."""
    monkeypatch.chdir(tmp_path)
    served.post("device", DEVICE)
    served.seconds, rng = 1.0, np.random.default_rng(0)
    kept, before = [served.result(0), served.result(1, ms=[1, 2])], served.state()
    paths = ["device", "results", "job.json", "", "../", "%2e%2e/device", "models/", "models/" + "a" * 64 + ".tflite",
             "results/", "results\\", "x" * 3000]  # fmt: skip
    wrong = ["", "x", served.server.token[:-1], served.server.token + "x", "%00", "..", "%C3%A9"]
    for i in range(400):
        path = paths[rng.integers(2) if i % 2 else rng.integers(len(paths))]
        value = spoiled(rng, kept[0] | {"model": "c" * 64}) if rng.random() < 0.5 else strange(rng)
        body = json.dumps(value).encode() if rng.random() < 0.8 else rng.bytes(rng.integers(0, 300))
        token = served.server.token if rng.random() < 0.7 else wrong[rng.integers(len(wrong))]
        kind = "application/json" if rng.random() < 0.8 else ["", "text/plain", "application/json;"][rng.integers(3)]
        length = str(len(body)) if rng.random() < 0.8 else ["0", "-5", "x", str(1 << 40), "1 2"][rng.integers(5)]
        status = raw_post(served.server.port, f"/{token}/{MEASURING}{path}", kind, length, body)
        assert status is None or 400 <= status < 500, (path, body[:200], status)
        assert served.state() == before, (path, body[:200])
    assert [served.post("results", result)[0] for result in kept] == [200, 200]
    served.threads[1].join()
    assert [result.ms for result in served.found] == [(1.5,) * 3, (1.0, 2.0)]
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def raw_post(port, path, kind, length, body):
    """The status; None where the connection was closed without one."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        connection.putrequest("POST", path, skip_accept_encoding=True)
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", length)
        connection.endheaders()
        connection.sock.sendall(body)
        connection.sock.shutdown(1)  # a body that is too short ends here
        return connection.getresponse().status
    except (http.client.HTTPException, OSError):
        return None
    finally:
        connection.close()


def test_the_page_that_measures_is_served_alone():
    files = measuring_site({"index.js": b"js"})
    assert {MEASURING, f"{MEASURING}main.js", "runner.js", "worker.js", "litert/index.js"} <= set(files)
    assert not {"", "index.html", "models.json", JOB} & set(files)
