"""What docs/ARCHITECTURE.md says of adding things: one file, or a file and a row, and everything else follows.

The toys below are what such a file would hold. Nothing of the package is changed but the tables that have their rows.
A candidate of the search is in `tests/zoo/test_candidates.py`.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from rtseg_jax.architecture import NetworkSpec, counts, declare
from rtseg_jax.architecture.graph import Network, Op, Product, Weight
from rtseg_jax.architecture.network_spec import Published
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.config import base_config, run_spec
from rtseg_jax.data import DatasetInfo, DataSpec, LabelTable, build_dataset, registry
from rtseg_jax.data.layout import find_layout
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.pairing import pair_up, stem
from rtseg_jax.describe import describe
from rtseg_jax.export.spec import FLOAT32
from rtseg_jax.latency import devices
from rtseg_jax.latency.backend import Timing
from rtseg_jax.latency.features import WIDTH_FEATURES, block_terms, width_features
from rtseg_jax.models import SegmentationNetwork, initial_variables
from rtseg_jax.models.operators import apply_op
from rtseg_jax.survey import entrants

# --- an operator: its class and what it computes ---


@dataclasses.dataclass(frozen=True)
class Scale(Op):
    """Each channel times a learned number."""

    @property
    def weights(self) -> tuple[Weight, ...]:
        return (Weight((self.name, "factor"), (self.output.groups,), "scale"),)

    def products(self, image_size) -> tuple[Product, ...]:
        return (Product(math.prod(self.output.size(image_size)), (self.output.groups,)),)


@apply_op.register
def _(op: Scale, inputs, context):
    return inputs[0] * context.weights(op)["scale"][None, None, None]


@pytest.fixture
def toy():
    """A network: its page. No other test may see it."""

    @dataclasses.dataclass(frozen=True)
    class Toy(NetworkSpec, name="toy", published=Published("Toy", "nobody", "ED", "of a test")):
        width: int = 4

        def declare(self) -> Network:
            n = Sketch(self.num_classes)
            b = n.block("body", "toy", "encoder")
            x = b.conv("conv", n.image, self.width, stride=2)
            x = b.add(Scale, "scaled", (x,), x.groups, x.extent)
            b = n.block("head", "head", "head")
            b.resize("logits", n.classifier(b, x), n.image)
            return n.network()

    yield Toy
    del NetworkSpec.registry["toy"]


def test_an_operator_and_a_network(toy):
    network = declare(toy(5))
    assert counts.parameters(network) == 27 * 4 + 2 * 4 + 4 + 4 * 5 + 5
    assert counts.macs(network, (8, 8)) == 16 * (27 * 4 + 4 + 4 * 5)
    assert NetworkSpec.from_json(toy(5, width=8).to_json()) == toy(5, width=8)
    # What it computes: twice the factor makes logits twice as large, their bias being 0.
    variables = initial_variables(SegmentationNetwork(network), seed=0)
    pictures = jnp.asarray(np.random.default_rng(0).standard_normal((1, 8, 8, 3)), jnp.float32)
    variables = jax.tree.map(jnp.asarray, variables)
    run = jax.jit(SegmentationNetwork(network).apply)
    once = np.asarray(run(variables, pictures)["logits"])
    variables["params"]["body"]["scaled"]["factor"] *= 2
    twice = np.asarray(run(variables, pictures)["logits"])
    assert np.abs(once).max() > 0.1
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)
    # It has a price, a row in the tables of memory and schedule, a recipe, and a place in the survey.
    body = network.plain_blocks[0]
    priced = dict(zip(WIDTH_FEATURES, width_features(block_terms(body, (8, 8), FLOAT32)), strict=True))
    assert priced["traffic"] > 0
    config = base_config()
    config.model = "toy"
    spec = run_spec(config)
    assert type(spec.network) is toy
    assert "train" in spec.phases
    assert "activations" in describe(spec)
    (entrant,) = entrants.of_zoo(["toy"])
    assert entrant.published.title == "Toy"


# --- a device: its backend and its rows in `latency/devices/__init__.py` ---


class Stopwatch:
    """A millisecond for every parameter."""

    name = "stopwatch"

    def build(self, subject) -> Network:
        return subject.declare()

    def digest(self, model) -> str:
        return str(hash(model))

    def measure(self, model) -> Timing:
        return Timing(float(counts.parameters(model)), 1, 0.0)

    def card(self) -> dict[str, Any]:
        return {"device": "a stopwatch", "backend": self.name}


def test_a_device(monkeypatch, toy):
    from rtseg_jax.architecture import ArchSpec
    from rtseg_jax.latency.subjects import Subject

    monkeypatch.setitem(devices.SWEEP_BACKENDS, "stopwatch", lambda threads, runs: Stopwatch())
    config = base_config()
    config.latency.device = "stopwatch"
    spec = run_spec(config).latency
    backend = devices.make_backend(spec.device, spec.threads, spec.runs)
    model = backend.build(Subject(ArchSpec(toy(5), {}, {}), (8, 8)))
    assert backend.measure(model).ms == 145
    assert devices.unit_of_device("stopwatch") == "ms"


def test_every_device_has_a_title():
    assert set(devices.TITLES) == set(devices.BACKENDS | devices.SWEEP_BACKENDS)


# --- a data set: its reader, and its row in `data/registry.py` ---

INFO = DatasetInfo("walls", ("wall", "sky"), ((9, 9, 9), (0, 0, 255)), LabelTable.plain(2))
HOLDS = "the folder that holds pictures/ and labels/"


def read(spec, info, split):
    files, place = find_layout(spec.data_dir, f"{split}/pictures", ("",), (), HOLDS)
    images, labels = (f"{place}{split}/{kind}/" for kind in ("pictures", "labels"))
    names = (f"{images}NAME.png", f"{labels}NAME.png")
    key = lambda name: stem(name.rpartition("/")[2])  # noqa: E731
    found = pair_up(files, files.names(images), files.names(labels), key, key, names).checked(spec.bad)
    return PairSource(files, tuple(found.pairs), info.labels, None), found.findings


def test_a_data_set(monkeypatch, tmp_path):
    monkeypatch.setitem(registry.KNOWN, "walls", registry.Entry("Walls", INFO, ("train", "validation"), read, HOLDS))
    for split, grey in (("train", 50), ("validation", 80)):
        for kind, pixels in (("pictures", np.full((4, 6, 3), grey)), ("labels", np.eye(4, 6))):
            (tmp_path / split / kind).mkdir(parents=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / split / kind / "one.png")
    dataset = build_dataset(DataSpec(name="walls", data_dir=str(tmp_path)))
    assert dataset.info.class_names == ("wall", "sky")
    assert (dataset.train[0]["image"] == 50).all()
    assert (dataset.validation[0]["image"] == 80).all()
    np.testing.assert_array_equal(dataset.train[0]["label"], np.eye(4, 6))
    assert registry.entry_of("walls").title == "Walls"
