"""The card of an export that is no TFLite file: what was compared, and nothing that was not found out."""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.config import base_config, run_spec
from rtseg_jax.data import SYNTHETIC_STREETS, Dataset
from rtseg_jax.deployment import converting
from rtseg_jax.deployment.converting import export_trained
from rtseg_jax.deployment.examination import Examination
from rtseg_jax.deployment.trained import Trained
from rtseg_jax.export.formats import read_export
from rtseg_jax.export.spec import ExportSpec

sys.path.insert(0, str(Path(__file__).parents[1]))
import segmenting

pytestmark = pytest.mark.xdist_group("other_formats")  # one worker makes what all of them look at

SPEC = ExportSpec((32, 64), "lowres_logits", "uint8", batch=2)
NONE = ("contents", "verdict", "how_to_test", "gpu", "latency_ms", "noise", "gpu_verdict")


class Noise:
    """Four pictures with labels."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        generator = np.random.default_rng(index)
        return {
            "image": generator.integers(0, 256, (32, 64, 3), np.uint8),
            "label": generator.integers(0, 11, (32, 64), np.uint8),
        }


@pytest.fixture(scope="module")
def examination() -> Examination:
    config = base_config()
    config.data.name, config.data.data_dir = "synthetic_streets", "/nowhere"
    variables = jax.tree.map(jnp.asarray, segmenting.random_variables())
    trained = Trained(segmenting.ARCH, variables, run_spec(config))
    return Examination(trained, Dataset(SYNTHETIC_STREETS, Noise(), Noise()), SPEC)


@pytest.fixture(scope="module")
def exported(examination, tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "m.stablehlo"
    return export_trained(examination, "stablehlo", output, most_lost=0.05), output


def test_the_card_compares_the_file_with_jax(exported):
    card, output = exported
    assert card.form == "stablehlo"
    assert card.size == output.stat().st_size
    assert card.cpu.pictures == card.pictures == 4
    assert card.cpu.max_difference < 1e-5
    assert card.jax_miou > 0
    assert card.miou == pytest.approx(card.jax_miou, abs=0.01)  # low-resolution logits, enlarged
    assert "tensorflow" not in sys.modules


def test_what_was_not_found_out_is_not_on_the_card(exported):
    card, output = exported
    written = json.loads((output.parent / "m.stablehlo.json").read_text())
    assert {name: written[name] for name in NONE} == dict.fromkeys(NONE)
    assert written["form"] == "stablehlo"
    text = (output.parent / "m.stablehlo.md").read_text()
    assert text == card.to_markdown()
    for name in ("peak of feature maps", "latency", "GPU", "GPU against JAX"):
        assert f"| {name} | not determined for stablehlo, only for TFLite files |" in text
    assert "Operators: not determined for stablehlo, only for TFLite files." in text
    assert "untested" not in text


def test_a_file_and_its_card_have_names_of_their_own(exported):
    names = ["m.stablehlo", "m.stablehlo.json", "m.stablehlo.md"]
    assert sorted(path.name for path in exported[1].parent.iterdir()) == names


def test_a_file_that_computes_something_else_fails(examination, tmp_path, monkeypatch):
    def wrong(form, path):
        function = read_export(form, path)
        return dataclasses.replace(function, run=lambda pictures: np.roll(function.run(pictures), 1, axis=-1))

    monkeypatch.setattr(converting.formats, "read_export", wrong)
    card = export_trained(examination, "stablehlo", tmp_path / "m", most_lost=-100.0)
    assert card.cpu.pixel_agreement < 0.5
    (failure,) = card.failures
    assert failure.startswith("mIoU fell by")


def test_without_pictures_the_file_is_still_written(examination, tmp_path):
    blind = dataclasses.replace(examination, dataset=None)
    card = export_trained(blind, "stablehlo", tmp_path / "m", most_lost=0.05)
    assert (card.cpu, card.miou, card.lost) == (None, None, None)
    output = read_export("stablehlo", tmp_path / "m")(np.zeros((2, 32, 64, 3), np.uint8))
    assert output.shape == (2, 4, 8, 11)


def test_an_export_that_cannot_be_examined_leaves_nothing(examination, tmp_path, monkeypatch):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("out of memory")

    monkeypatch.setattr(converting.formats, "read_export", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"):
        export_trained(examination, "stablehlo", tmp_path / "m", most_lost=0.05)
    assert not list(tmp_path.iterdir())
