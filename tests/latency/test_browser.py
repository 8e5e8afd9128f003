"""A browser as a device: a thread in the place of its page, and Chromium itself where there is one."""

import functools
import hashlib
import http.client
import json
import queue
import re
import ssl
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from browser import needed
from devtools import chromium
from fake_page import DEVICE, FakePage, job, post
from synthetic import CARD, SPEC, block_ms, network_ms
from tiny_tflite import small_network

from rtseg_jax import benchmark_tflite, measure_latency
from rtseg_jax.architecture import Block, declare_spec
from rtseg_jax.demo.litert_js import FOLDER, present
from rtseg_jax.demo.opening import Opening
from rtseg_jax.errors import UserError
from rtseg_jax.files import read_rows
from rtseg_jax.latency import LatencySpec, devices, sweep, turns
from rtseg_jax.latency.backend import BatchBackend, FollowedBackend, Refused, Timing
from rtseg_jax.latency.devices import browser
from rtseg_jax.latency.devices.browser import BROWSER_DEVICES, CUT_OFF, FINISHED, Browser
from rtseg_jax.latency.fitting import fit
from rtseg_jax.latency.turns import in_turns
from rtseg_jax.zoo import RTSeg

WEBGPU_IN_SOFTWARE = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
HERE = Opening(port=0)
MODELS = [b"1.5", b"2.5", b"0.5"]


def formula(content, number):
    return float(content)


@pytest.fixture
def connect(monkeypatch):
    """A function that makes a backend without LiteRT.js; all are closed at the end."""
    monkeypatch.setattr(browser, "litert_js", lambda packages: {})
    monkeypatch.setattr(browser, "LINGER_S", 0.05)
    monkeypatch.setattr(browser, "LEAST_MS", {False: 0.1, True: 0.1})
    made = []

    def start(name="browser", threads=1, runs=2):
        made.append(Browser(name, threads, runs, HERE, say=lambda text: None))
        return made[-1]

    yield start
    for backend in made:
        backend.close(finished=True)


def test_a_batch_is_measured_in_turns(connect):
    backend = connect(runs=3)
    page = FakePage(backend.link, formula)
    assert isinstance(backend, BatchBackend)
    assert isinstance(backend, FollowedBackend)
    timings = in_turns(backend, MODELS)
    assert timings == [Timing(float(model), 9, 0.0) for model in MODELS]  # of 3 samples one was disturbed, each time
    assert [task["model"] for _, task in page.seen] == [backend.digest(model) for model in MODELS] * turns.ROUNDS
    assert {(task["runs"], task["copies"], task["warmup"]) for _, task in page.seen} == {(3, False, 3)}
    # The next batch begins with the slowest model of the first one.
    assert in_turns(backend, [b"0.25"]) == [Timing(0.25, 9, 0.0)]
    assert page.seen[9][1]["model"] == backend.digest(b"2.5")
    assert backend.measure(b"0.75") == Timing(0.75, 3, 0.0)


@pytest.mark.parametrize(("late", "slowest", "looks"), [((1.3, 1.3), 1.3, 2), ((1.3, 1.0), 1.0, 2), ((1.05,), 1.05, 1)])
def test_a_device_that_slows_down_is_noticed(connect, caplog, late, slowest, looks):
    backend = connect()
    reference = backend.digest(b"2.5")
    again = iter(late)
    page = FakePage(backend.link, lambda content, number: 2.5 * next(again) if seen_before(page, reference) else 2.5)
    in_turns(backend, [b"2.5"])
    backend.prepare([b"0.5"], 1)
    assert [task["model"] for _, task in page.seen].count(reference) == turns.ROUNDS + looks
    assert backend.slowest == pytest.approx(slowest)
    warnings = job(backend.link)["warnings"]
    if slowest > browser.THROTTLED:
        assert "took up to 1.30 times as long as at first: the device is hot" in warnings[0]
        assert "took up to 1.30 times as long" in caplog.text
        assert backend.card()["reference"] == "30 % slower at most than at first"
    else:
        assert (warnings, caplog.text) == ([], "")


def seen_before(page, reference):
    """Whether the task of now is of a later batch, and of the reference."""
    return len(page.seen) > turns.ROUNDS and page.seen[-1][1]["model"] == reference


def test_a_file_that_the_browser_cannot_run(connect):
    backend = connect()
    FakePage(backend.link, lambda content, number: "the GPU does not take every operator of this file")
    with pytest.raises(Refused, match=r"^browser: the browser could not run a model: the GPU does not take every op"):
        backend.measure(b"1")


@pytest.mark.parametrize(
    ("name", "threads", "changed", "reason"),
    [
        ("browser", 1, {"gpu": None}, "This browser has no GPU for pages (WebGPU): open the link in another, or use"),
        ("browser_fp16", 1, {"gpu": {**DEVICE["gpu"], "fp16": False}}, "This GPU has no float16 for pages"),
        ("browser_wasm", 8, {}, "This browser has 4 threads for pages; --threads=8 was given."),
        ("browser_wasm", 4, {"gpu": None}, None),
        ("browser_fp16", 1, {}, None),
    ],
)
def test_browsers_that_cannot_do_it(connect, name, threads, changed, reason):
    status, answer = post(connect(name, threads).link, "device", DEVICE | changed)
    if reason is None:
        assert (status, answer) == (200, {"session": 1})
    else:
        assert (status, answer[: len(reason)]) == (422, reason)


def test_cards(connect):
    cards = []
    for name in BROWSER_DEVICES:
        backend = connect(name, threads=4)
        FakePage(backend.link, formula)
        cards.append(backend.card())
    assert [card["backend"] for card in cards] == list(BROWSER_DEVICES)
    assert [card["precision"] for card in cards] == ["float32", "float16", "float32"]
    assert [card["threads"] for card in cards] == [1, 1, 4]
    assert cards[0]["device"] == "arm valhall (ANGLE (ARM, Mali-G710 MC10, OpenGL ES 3.2))"
    assert cards[0]["runtime"].endswith(", WebGPU, Google Chrome 150")
    assert (
        cards[2]["device"] == "CPU, processors for pages: 8 (Pixel 7 Android 14.0.0 arm, litert_wasm_threaded_internal)"
    )
    assert cards[0]["browser"] == DEVICE


def test_settings(monkeypatch, tmp_path, capsys):
    for variable in browser.VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    assert browser.opening_now() == Opening()
    monkeypatch.setenv("BROWSER_PORT", "99999")
    with pytest.raises(UserError, match="BROWSER_PORT is '99999': it must be a port"):
        browser.opening_now()
    monkeypatch.setenv("BROWSER_SHARE", "1")
    monkeypatch.setenv("BROWSER_PORT", "0")
    monkeypatch.setenv("BROWSER_ADDRESS", "192.168.1.5")
    assert browser.opening_now() == Opening(True, 0, "192.168.1.5")
    with pytest.raises(UserError, match="20000 runs are more than a browser posts at once: at most 10000"):
        Browser("browser", 1, 20000)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.tflite").write_bytes(b"")
    for command, arguments in ((benchmark_tflite.COMMAND, ["m.tflite"]), (measure_latency.COMMAND, ["--output=o"])):
        assert command.execute([*arguments, "--share"], "x") == 2
        assert "--share is for a browser: add --device=browser, or leave it out" in capsys.readouterr().err
        assert command.execute([*arguments, "--device=browser", "--address=192.168.1.5"], "x") == 2
        assert "--address is for the link of --share" in capsys.readouterr().err


def test_for_other_devices(connect, monkeypatch):
    """Over HTTPS, with a certificate of the address and a token; without TLS there is nothing."""
    told = []
    backend = Browser("browser", opened=Opening(share=True, port=0, address="127.0.0.1"), say=told.append)
    try:
        match = re.fullmatch(r"https://127\.0\.0\.1:(\d+)(/[\w-]{22}/measure/)", backend.link)
        assert backend.link in told[0]
        assert "it gives the GPU to HTTPS pages alone" in told[0]
        port = int(match[1])
        trusting = ssl.create_default_context(cadata=ssl.get_server_certificate(("127.0.0.1", port)))
        for token, status in (("x" * 22, 404), (match[2].split("/")[1], 200)):
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trusting)
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"/{token}/measure/device", json.dumps(DEVICE), headers)
            assert connection.getresponse().status == status
            connection.close()
        with pytest.raises((http.client.HTTPException, OSError)):
            job(backend.link.replace("https", "http"))
    finally:
        backend.close(finished=False)


# ---- a sweep


class Stop(BaseException):
    """Ctrl-C."""


def test_a_sweep_is_cut_off_and_goes_on(connect, monkeypatch, tmp_path):
    """The device is a formula; its rows are those of an uninterrupted sweep, and each model is measured once."""
    pages = []

    def build(backend, subject):
        declared = subject.declare()
        ms = block_ms(declared, subject.image_size) if isinstance(declared, Block) else network_ms(declared)
        return repr(round(ms / 20, 6)).encode()

    def make(threads, runs):
        backend = connect(runs=runs)
        pages.append(FakePage(backend.link, formula))
        return backend

    monkeypatch.setattr(Browser, "build", build)
    monkeypatch.setitem(devices.BACKENDS, "browser", make)
    monkeypatch.setattr(sweep, "fit", functools.partial(fit, steps=10))
    spec = LatencySpec("browser", num_blocks=20, num_networks=4, num_unseen=1, runs=6, image_size=(64, 128))
    told = []

    def report(done, total, text):
        told.append((done, total, text))
        if len(pages) == 1 and len(told) > 12:
            raise Stop

    with pytest.raises(Stop):
        sweep.sweep(SPEC, spec, tmp_path, report)
    pages[0].join()
    assert pages[0].ended == CUT_OFF
    before = read_rows(tmp_path / "measurements.jsonl")
    assert len(before) == turns.BATCH
    result = sweep.sweep(SPEC, spec, tmp_path, report)
    pages[1].join()
    assert pages[1].ended == FINISHED
    rows = read_rows(tmp_path / "measurements.jsonl")
    assert rows[: len(before)] == before
    assert len(rows) == len({row["graph"] for row in rows}) == 25
    subjects = [*sweep.sweep_subjects(SPEC, spec), *sweep.unseen_subjects(SPEC, spec)]
    expected = {json.dumps(s.to_json()): float(build(None, s)) for s in subjects}
    assert {json.dumps({k: row[k] for k in ("arch", "image_size", "block")}): row["timing"]["ms"] for row in rows} == {
        key: pytest.approx(ms) for key, ms in expected.items()
    }
    assert result.model.card["device"].startswith("arm valhall")
    assert set(CARD) <= set(result.model.card)
    last = pages[1].seen[-1][0]
    assert 0 < last["done"] < last["total"]
    blocks = sum(len(declare_spec(subject.arch).plain_blocks) for subject in subjects if subject.block is None)
    assert last["total"] == told[-1][1] == 20 + blocks
    assert "whole network" in {job["text"] for job, _ in pages[1].seen}
    assert told[-1][2] == "fitting"


# ---- Chromium


@pytest.fixture(scope="module")
def page(user_cache, tmp_path_factory):
    """A browser that has opened nothing yet."""
    if not present(user_cache / FOLDER):
        pytest.skip("no LiteRT.js here; python -m rtseg_jax.demo.litert_js fetches it with npm")
    with chromium(tmp_path_factory.mktemp("profile"), *WEBGPU_IN_SOFTWARE) as opened:
        yield opened
        assert opened.complaints == []


@pytest.fixture
def links(page, user_cache, monkeypatch):
    """Links of the backends that are made; each has a port of its own."""
    told = queue.Queue()
    monkeypatch.setenv("RTSEG_JAX_CACHE", str(user_cache))
    monkeypatch.setenv("BROWSER_PORT", "0")
    monkeypatch.setattr(browser, "_say", lambda text: told.put(text.split()[0]))
    return told


def in_thread(work):
    """A thread, and where its answer or error will be."""
    found = queue.Queue()

    def run():
        try:
            found.put(work())
        except BaseException as error:
            found.put(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, found


HIDE = """Object.defineProperty(document, "hidden", {{ get: () => {}, configurable: true }})
document.dispatchEvent(new Event("visibilitychange"))"""
STATUS = "document.getElementById('status').textContent"


@needed
@pytest.mark.xdist_group("browser")
def test_a_file_in_chromium(page, links, tmp_path):
    """On the CPU, and on a GPU in software."""
    file = tmp_path / "m.tflite"
    file.write_bytes(small_network((48, 80), 5, seed=3))
    for device in ("browser_wasm", "browser"):
        arguments = [str(file), f"--device={device}", "--runs=4", f"--json={tmp_path / device}"]
        thread, found = in_thread(lambda given=arguments: benchmark_tflite.COMMAND.execute(given, "benchmark"))
        page.open(links.get())
        if device == "browser" and page.run("navigator.gpu === undefined"):
            pytest.skip("this browser has no WebGPU, not even in software")
        page.wait(f"{STATUS} === {json.dumps(FINISHED)}")
        thread.join()
        assert found.get() == 0
        figures = json.loads((tmp_path / device).read_text())
        card = figures["card"]
        assert card["browser"]["agent"] == page.run("navigator.userAgent")
        assert (card["runs"], card["backend"]) == (4, device)
        assert ("SwiftShader" in card["device"]) == (device == "browser")
        single, in_a_row = figures["latencies"]
        assert single["clock"] == "wall time with copies"
        assert re.fullmatch(r"wall time of [1-9]\d* in a row", in_a_row["clock"])
        assert all(0 < clock["min_ms"] <= clock["p50_ms"] <= clock["p90_ms"] for clock in (single, in_a_row))


@needed
@pytest.mark.xdist_group("browser")
def test_a_sweep_in_chromium(page, links, monkeypatch, tmp_path):
    """Cut off after a batch, gone on with, the page hidden once; small files stand in for blocks and networks."""

    def build(backend, subject):
        number = int(hashlib.sha256(json.dumps(subject.to_json()).encode()).hexdigest()[:8], 16)
        return small_network((32, 64), 5 if subject.block else 19, seed=number)

    monkeypatch.setattr(Browser, "build", build)
    monkeypatch.setattr(sweep, "fit", functools.partial(fit, steps=10))
    network = RTSeg(2, width=0.1, segment_blocks=(0, 0, 0))
    sizes = {"num_blocks": 10, "num_networks": 2, "num_unseen": 1, "runs": 3, "image_size": (32, 64)}
    spec, rows = LatencySpec("browser_wasm", **sizes), tmp_path / "measurements.jsonl"

    def stop(done, total, text):
        if rows.exists():
            raise Stop

    def open_it():
        page.open(links.get())
        page.wait(f"{STATUS} === {json.dumps(CUT_OFF)}")

    def open_again():
        page.open(links.get())
        page.run(HIDE.format("true"))
        page.wait(f"{STATUS} === 'Paused while the page is hidden.'")
        page.run(HIDE.format("false"))
        page.wait(f"{STATUS} === {json.dumps(FINISHED)}")

    user, found = in_thread(open_it)
    with pytest.raises(Stop):
        sweep.sweep(network, spec, tmp_path, stop)
    user.join()
    assert found.get() is None
    before = read_rows(rows)
    assert len(before) == turns.BATCH
    user, found = in_thread(open_again)
    result = sweep.sweep(network, spec, tmp_path, lambda done, total, text: None)
    user.join()
    assert found.get() is None
    after = read_rows(rows)
    assert after[: turns.BATCH] == before
    assert len(after) == len({row["key"] for row in after}) == 13
    assert [row["block"] is None for row in after] == [False] * 10 + [True] * 3
    assert all(row["timing"]["ms"] > 0 and row["timing"]["runs"] >= 3 for row in after)
    assert result.model.card["browser"]["agent"] == page.run("navigator.userAgent")
    assert result.model.card["graphs"].endswith("over 12 models")
    assert sweep.UNSEEN in result.model.errors
    assert page.run("document.getElementById('bar').value") == 1
