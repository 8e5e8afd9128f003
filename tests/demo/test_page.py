"""The page in Chromium: it answers as LiteRT does on the host, works offline, and has nothing to complain of."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from browser import needed
from devtools import chromium

import rtseg_jax
from rtseg_jax.data.synthetic import StreetSource
from rtseg_jax.demo.litert_js import FOLDER, present, read
from rtseg_jax.demo.models import read_model
from rtseg_jax.demo.server import LOOPBACK, DemoServer
from rtseg_jax.demo.site import site_of

pytestmark = [needed, pytest.mark.xdist_group("browser")]

RESULTS = (
    "import('./main.js').then(main => main.results().map(({labels, ...rest}) => ({...rest, labels: [...labels]})))"
)
ALL_RAN = "import('./main.js').then(main => main.results().every(result => result.runs === {}))"
TEXT = "document.getElementById('{}').textContent"
READY = TEXT.format("status") + " === 'Ready.'"
CHOOSE = """(control => {{ control.value = "{}"; control.dispatchEvent(new Event("change")) }})(
  document.getElementById("on"))"""
PRESS = "document.getElementById('{}').click()"
FACTS = "[...document.querySelectorAll('.facts')].map(element => element.textContent)"
WEBGPU_IN_SOFTWARE = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
NAMELESS = """[...document.querySelectorAll('button, select, input, canvas:not([hidden]), output')].filter(element =>
  !element.textContent.trim() && !element.ariaLabel && !element.closest('label')).map(element => element.outerHTML)"""


@pytest.fixture(scope="module")
def runtime(user_cache):
    """LiteRT.js."""
    if not present(user_cache / FOLDER):
        pytest.skip("no LiteRT.js here; python -m rtseg_jax.demo.litert_js fetches it with npm")
    return read(user_cache / FOLDER)


class Site:
    """The page with two models: the server of it, and a browser that has opened it."""

    def __init__(self, files):
        self.server = DemoServer((LOOPBACK, 0), files)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        self.page = None

    def stop(self):
        """Ends the server, if it runs."""
        if self.thread.is_alive():
            self.server.shutdown()
            self.server.server_close()
            self.thread.join()

    def check_picture(self, path, model_files, picture):
        """Both models label a picture as LiteRT does here."""
        self.page.choose_file("#file", path)
        self.page.wait(ALL_RAN.format(1))
        results = self.page.run(RESULTS)
        assert [result["name"] for result in results] == ["small", "colours"]
        for result, model in zip(results, model_files, strict=True):
            labels = rtseg_jax.load(model)(picture)
            assert tuple(result["size"]) == labels.shape
            equal = np.reshape(result["labels"], labels.shape) == labels
            assert equal.mean() >= 0.999
            assert len(np.unique(labels)) >= 3


@pytest.fixture(scope="module")
def site(model_files, runtime, tmp_path_factory):
    site = Site(site_of([read_model(path) for path in model_files], runtime))
    try:
        with chromium(tmp_path_factory.mktemp("profile"), *WEBGPU_IN_SOFTWARE) as site.page:
            site.page.open(f"http://localhost:{site.server.port}/")
            site.page.wait(READY)
            yield site
            assert site.page.complaints == []
    finally:
        site.stop()


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A picture, and a file of it."""
    picture = StreetSource(1, (97, 150), 0, "validation", 11)[0]["image"]
    path = tmp_path_factory.mktemp("street") / "street.png"
    Image.fromarray(picture).save(path)
    return path, picture


def test_on_the_cpu(site, street, model_files):
    page = site.page
    assert page.run("crossOriginIsolated")
    assert all(facts.startswith("48×80 · float32 · 0.00 MB · CPU, ") for facts in page.run(FACTS))
    site.check_picture(street[0], model_files, street[1])
    page.run(PRESS.format("measure"))
    page.wait(ALL_RAN.format(30))
    results = page.run(RESULTS)
    assert all(result["fps"] > 0 for result in results)
    assert all(0 < times["p50"] <= times["p90"] for x in results for times in x["percentiles"].values())
    assert page.run(NAMELESS) == []


def test_on_the_gpu(site, street, model_files):
    page = site.page
    if page.run("document.querySelector('option[value=webgpu]').disabled"):
        pytest.skip("this browser has no WebGPU, not even in software")
    for accelerator, words in (("webgpu", "GPU, float32"), ("wasm", "CPU, ")):
        page.run(CHOOSE.format(accelerator))
        page.wait(f"{FACTS}.every(text => text.includes('{words}'))")
        site.check_picture(street[0], model_files, street[1])


def test_without_the_server(site, street, model_files):
    page = site.page
    page.wait(TEXT.format("offline") + " === 'The page works offline from now on.'")
    site.stop()
    page.run("window.before = true")
    page.send("Page.reload")
    page.wait(f"!window.before && document.readyState === 'complete' && {READY}")
    site.check_picture(street[0], model_files, street[1])
