"""The page's modules compute what Python computes; they run in Node here, all in one process."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rtseg_jax.demo.models import TYPES
from rtseg_jax.demo.site import PAGE
from rtseg_jax.evaluation.upsampling import label_map, labels_from
from rtseg_jax.inference import quantize
from rtseg_jax.resizing import resize_image
from rtseg_jax.visualization.style import DARK, LIGHT

NODE = shutil.which("node")
SIZES = (((48, 80), (48, 80)), ((97, 131), (48, 80)), ((31, 17), (64, 96)), ((360, 640), (128, 256)), ((1, 1), (3, 2)))
LOGITS = (((24, 40, 5), (48, 80)), ((24, 40, 5), (24, 40)), ((7, 9, 3), (5, 4)), ((1, 2, 2), (3, 5)))
TENSORS = (
    {"shape": [1, 48, 80, 3], "type": "float32", "scale": 0, "zero": 0},
    {"shape": [2, 48, 80, 3], "type": "uint8", "scale": 0, "zero": 0},
    {"shape": [1, 48, 80, 3], "type": "uint8", "scale": 2.0, "zero": 7},  # halves are rounded to the even
    {"shape": [1, 48, 80, 3], "type": "uint8", "scale": 0.7, "zero": 3},  # some beyond 255
)

SCRIPT = """
import { readFileSync } from "node:fs"
const [page, inputs] = process.argv.slice(-2)
const { resizeRgb, asTensor } = await import(`file://${page}/preprocessing.js`)
const { labelMap, nearestLabels, labelsOf, counts } = await import(`file://${page}/labels.js`)
const { percentile, Recent } = await import(`file://${page}/statistics.js`)
const given = JSON.parse(readFileSync(inputs, "utf8"))
const recent = new Recent(3)
for (const [i, times] of given.times.entries()) {
  recent.add({ preprocessing: times[0], network: times[1], drawing: times[2] }, 250 * i)
}
console.log(JSON.stringify({
  resized: given.pictures.map(({ rgba, from, to }) => [...resizeRgb(rgba, from, to)]),
  tensors: given.tensors.map(tensor => [...asTensor(Uint8Array.from(given.rgb), tensor)]),
  labels: given.logits.map(({ values, shape, to }) => [...labelMap(Float32Array.from(values), shape, to)]),
  nearest: given.classes.map(({ values, shape, to }) => [...nearestLabels(values, shape, to)]),
  quantized: [...labelsOf(Uint8Array.from(given.quantized.answer), given.quantized.model, given.quantized.to)],
  counts: counts([2, 0, 2, 2], 4),
  percentiles: [10, 50, 90, 100].map(percent => percentile(given.values, percent)),
  recent: { fps: recent.fps(), number: recent.number, ...recent.percentiles() },
}))
"""


def rgba(picture):
    return np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])


@pytest.fixture(scope="module")
def given():
    """What both languages are given."""
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=shape).astype(np.float32) for shape, _ in LOGITS]
    logits[1] = logits[1].round()  # several are the largest, and the first of them counts
    return {
        "pictures": [rng.integers(0, 256, (*old, 3), np.uint8) for old, _ in SIZES],
        "rgb": rng.integers(0, 256, (48, 80, 3), np.uint8),
        "logits": logits,
        "classes": [logit.argmax(axis=-1)[..., None].astype(np.float32) for logit in logits],
        "answer": rng.integers(0, 256, (2, 6, 5, 4), np.uint8),  # of two pictures, the first counts
        "values": rng.normal(size=37),
        "times": [[9, 9, 9], [1, 20, 3], [2, 10, 3], [3, 30, 3]],  # the first is forgotten
    }


@pytest.fixture(scope="module")
def computed(given, tmp_path_factory):
    """What the modules make of it."""
    if NODE is None:
        pytest.skip("no Node here to run the page's modules; Debian: apt-get install nodejs")
    inputs = tmp_path_factory.mktemp("node") / "inputs.json"

    def flat(arrays, shapes):
        both = zip(arrays, shapes, strict=True)
        return [{"values": array.ravel().tolist(), "shape": array.shape, "to": to} for array, (_, to) in both]

    pictures = zip(given["pictures"], SIZES, strict=True)
    quantized = {"head": "logits", "output": {"shape": [2, 6, 5, 4], "type": "uint8", "scale": 0.5, "zero": 9}}
    inputs.write_text(
        json.dumps(
            {
                "pictures": [{"rgba": rgba(p).ravel().tolist(), "from": old, "to": new} for p, (old, new) in pictures],
                "rgb": given["rgb"].ravel().tolist(),
                "tensors": TENSORS,
                "logits": flat(given["logits"], LOGITS),
                "classes": flat(given["classes"], LOGITS),
                "quantized": {"answer": given["answer"].ravel().tolist(), "model": quantized, "to": [11, 13]},
                "values": given["values"].tolist(),
                "times": given["times"],
            }
        )
    )
    command = [NODE, "--no-warnings", "--input-type=module", "-e", SCRIPT, str(PAGE), str(inputs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_pictures_are_resized_to_the_same_bits(given, computed):
    for picture, (_, new), got in zip(given["pictures"], SIZES, computed["resized"], strict=True):
        np.testing.assert_array_equal(np.reshape(got, (*new, 3)), resize_image(picture, new))


def test_tensors_hold_the_same_numbers(given, computed):
    for tensor, got in zip(TENSORS, computed["tensors"], strict=True):
        details = {"quantization": (tensor["scale"], tensor["zero"]), "dtype": np.dtype(tensor["type"])}
        one = quantize(given["rgb"], details)
        np.testing.assert_array_equal(np.reshape(got, tensor["shape"]), np.repeat(one[None], tensor["shape"][0], 0))
    assert {tensor["type"] for tensor in TENSORS} < set(TYPES)


def test_labels_are_the_same(given, computed):
    for logits, (_, to), got in zip(given["logits"], LOGITS, computed["labels"], strict=True):
        np.testing.assert_array_equal(np.reshape(got, to), label_map(logits, to))
    for classes, (_, to), got in zip(given["classes"], LOGITS, computed["nearest"], strict=True):
        np.testing.assert_array_equal(np.reshape(got, to), labels_from(classes, to))
    values = 0.5 * (given["answer"][0].astype(np.float32) - 9)
    np.testing.assert_array_equal(np.reshape(computed["quantized"], (11, 13)), label_map(values, (11, 13)))
    assert computed["counts"] == [1, 0, 3, 0]


def test_statistics(given, computed):
    np.testing.assert_allclose(computed["percentiles"], np.percentile(given["values"], [10, 50, 90, 100]), rtol=1e-12)
    recent = computed["recent"]
    assert (recent["number"], recent["fps"]) == (3, 4)  # 250 ms apart
    assert (recent["preprocessing"]["p50"], recent["network"]["p50"]) == (2, 20)
    assert recent["network"]["p90"] == pytest.approx(28)  # 20 + 0.8 (30 − 20)
    assert recent["total"]["p50"] == 24  # of 24, 15, 36


def test_colours_are_those_of_the_reports():
    light, dark = re.findall(r":root \{([^}]*)\}", (PAGE / "style.css").read_text())
    for css, look in ((light, LIGHT), (dark, DARK)):
        for name, value in re.findall(r"--(\w+): (#\w+)", css):
            assert value == getattr(look, name), name


def test_the_page_loads_nothing_from_elsewhere():
    for path in filter(Path.is_file, PAGE.rglob("*")):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, path
        assert "https:" not in text, path
    for path in PAGE.rglob("*.js"):
        imported = re.findall(r'(?:from |import\()"(\.[^"]+)"', path.read_text())
        assert all((path.parent / name).is_file() for name in imported if name != "./litert/index.js"), path


def test_every_module_says_what_it_is():
    assert all(path.read_text().startswith("// ") for path in Path(PAGE).rglob("*.js"))


MEASURE_SCRIPT = """
const [page] = process.argv.slice(-1)
const { sample } = await import(`file://${page}/measure/sampling.js`)
const { Neighbour } = await import(`file://${page}/measure/neighbour.js`)
const { Pace } = await import(`file://${page}/measure/pace.js`)
const { noise } = await import(`file://${page}/measure/noise.js`)
const { browserName } = await import(`file://${page}/measure/device.js`)
const sampled = async (ms, options) => { // of something that takes `ms` and a start of 0.5, by a clock of its own
  let clock = 0
  const calls = []
  const run = async times => { calls.push(times); clock += 0.5 + times * ms }
  return { ...(await sample(run, options, () => 0, () => clock)), calls }
}
const looked = async (looks, runs) => { // of something that takes a millisecond longer each time
  let [clock, calls] = [0, 0]
  const run = async () => { calls += 1; clock += calls }
  const slows = () => (looks.length > 1 ? looks.shift() : looks[0])
  const { ms } = await sample(run, { runs, warmup: 0, warm: 0, least: 0 }, slows, () => clock)
  return { ms, calls }
}
const took = [...Array(60).fill(0.5), ...Array(940).fill(1), 0.75, 0.4, 1]
let [clock, reading] = [0, 0]
const neighbour = new Neighbour({ steps: 1, now: () => (reading++ % 2 ? (clock += took.shift()) : clock) })
const pace = new Pace()
const words = [pace.words(10, 100)]
for (const [ms, done, total] of [[20000, 12, 100], [70000, 19, 100], [0, 99, 100], [0, 100, 100], [9e6, 110, 1e3]]) {
  pace.add(ms)
  words.push(pace.words(done, total))
}
const floats = noise("float32", 100000)
let refused = ""
try { noise("int8", 1) } catch (error) { refused = error.message }
console.log(JSON.stringify({
  single: await sampled(7, { runs: 3, warmup: 2, warm: 0, least: 0 }),
  long: await sampled(7, { runs: 2, warmup: 1, warm: 20, least: 5 }),
  short: await sampled(0.1, { runs: 2, warmup: 1, warm: 0, least: 10 }),
  looked: [await looked([0, 0.9, 0.2, 0.2, 0.26, 0.1, 0.25, 0.1], 3), await looked([0.9, 0.8, 0.5, 0.7, 0.6, 0.7], 2)],
  slows: [neighbour.slows(), neighbour.slows(), neighbour.slows()],
  words,
  mean: floats.reduce((sum, x) => sum + x) / 1e5,
  square: floats.reduce((sum, x) => sum + x * x) / 1e5,
  bytes: [...new Set(noise("uint8", 5000))].length,
  refused,
  names: [
    browserName("x", [{ brand: "Not;A=Brand", version: "8" }, { brand: "Chromium", version: "150" }]),
    browserName("x", [{ brand: "Chromium", version: "150" }, { brand: "Google Chrome", version: "150" }]),
    browserName("Mozilla/5.0 (X11; rv:141.0) Gecko/20100101 Firefox/141.0"),
    browserName("Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile Safari/604.1"),
    browserName("curl"),
  ],
}))
"""


def test_the_page_that_measures():
    if NODE is None:
        pytest.skip("no Node here to run the page's modules; Debian: apt-get install nodejs")
    command = [NODE, "--no-warnings", "--input-type=module", "-e", MEASURE_SCRIPT, str(PAGE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["single"] == {"ms": [7.5] * 3, "repeats": 1, "calls": [1, 1, 1, 1, 1]}
    assert found["long"] == {"ms": [7.5] * 2, "repeats": 1, "calls": [1] * 7}  # 3 warm it up: 22.5 ms
    # 1 run takes 0.6 ms, 10 take 1.5 ms, 80 take 8.5 ms, 113 take 11.8 ms: at least 10.
    assert found["short"]["calls"] == [1, 1, 1, 10, 10, 80, 80, 113, 113, 113, 113]
    assert found["short"]["ms"] == pytest.approx([(0.5 + 11.3) / 113] * 2)
    # The third, sixth and seventh lie between two quiet looks.
    assert found["looked"][0] == {"ms": [3, 6, 7], "calls": 7}
    # 1 + … + 15 = 120 ms are the patience of two runs; the third and those after it were the least disturbed.
    assert found["looked"][1] == {"ms": [3, 4], "calls": 15}
    assert found["slows"] == [0.5, 0, 1]  # a twentieth of the first thousand and a few more took 0.5
    # 2 of 90 in 20 s; 9 in 90 s; the last one; none; a start anew.
    assert found["words"] == [
        *("", "about 15 minutes to go", "about 14 minutes to go", "less than a minute to go"),
        *("less than a minute to go", "about 22 hours to go"),
    ]
    assert abs(found["mean"]) < 0.02
    assert found["square"] == pytest.approx(1, abs=0.02)
    assert found["bytes"] == 256
    assert found["refused"] == "a tensor is int8, which LiteRT.js does not take"
    assert found["names"] == ["Chromium 150", "Google Chrome 150", "Firefox 141", "Safari 18", "unknown browser"]
