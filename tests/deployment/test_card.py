import dataclasses
import json

import pytest

from rtseg_jax.deployment.card import Card
from rtseg_jax.export.gpu import Verdict
from rtseg_jax.export.operators import Contents
from rtseg_jax.export.parity import Parity
from rtseg_jax.export.spec import ExportSpec

GOOD = Card(
    file="m.tflite",
    size=4_000_000,
    architecture="0123456789ab",
    export=ExportSpec((352, 480), "logits", "float", 1, "fp16"),
    contents=Contents({"CONV_2D": 3, "ADD": 1}, 4, (), 2_000_000),
    float_layers=0,
    verdict=Verdict("Adreno 660", 1, ()),
    how_to_test="plug in a phone",
    cpu=Parity(8, 1e-6, 1e-7, 1.0),
    gpu=Parity(2, 2e-6, 1e-7, 1.0),
    pictures=100,
    miou=0.5190,
    jax_miou=0.5195,
    latency_ms=61.0,
    noise=0.01,
    most_lost=0.1,
    require_gpu=False,
)


def changed(**fields):
    return dataclasses.replace(GOOD, **fields)


def test_a_good_file_has_no_failures_and_says_what_it_lost():
    assert GOOD.failures == ()
    assert GOOD.lost == pytest.approx(0.05)
    assert "+0.050 points lost" in GOOD.to_markdown()
    assert json.loads(json.dumps(GOOD.to_json()))["gpu_verdict"] == "accepted"


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        ({"miou": 0.5184}, "mIoU fell by 0.11 points, more than the 0.1 allowed"),
        ({"verdict": Verdict("a", 1, ("RESHAPE: bad",))}, "took the graph in 1 part(s) and refused: RESHAPE: bad"),
        ({"verdict": Verdict("a", 2, ())}, "took the graph in 2 part(s) and refused: no reason given"),
        ({"verdict": Verdict("a", 0, (), "crashed")}, "could not run the file: crashed"),
        ({"verdict": None, "require_gpu": True}, "the GPU was not tested: plug in a phone"),
        ({"contents": Contents({}, 6, ("t",), 0)}, "tensors of rank over 4, which GPU delegates refuse: t"),
    ],
)
def test_each_missed_threshold_is_a_failure(fields, failure):
    (found,) = changed(**fields).failures
    assert failure in found
    assert f"- **{found}**" in changed(**fields).to_markdown()


def test_a_machine_without_gpu_is_untested_not_failed():
    card = changed(verdict=None, gpu=None)
    assert card.failures == ()
    assert card.to_json()["gpu_verdict"] == "untested"
    assert "untested: plug in a phone" in card.to_markdown()


def test_a_file_that_gained_has_not_lost():
    assert changed(miou=0.53).failures == ()


def test_without_pictures_nothing_is_claimed():
    card = changed(miou=None, jax_miou=None, pictures=0, cpu=None, gpu=None)
    assert card.lost is None
    assert card.failures == ()
    assert "| mIoU | not scored |" in card.to_markdown()
    assert "| CPU against JAX | not compared |" in card.to_markdown()
