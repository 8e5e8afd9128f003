"""A network that learns from a finished run and from edges, through the real entry point."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from rtseg_jax.architecture import NetworkSpec, declare, network_class
from rtseg_jax.architecture.guidance import default_block, features, with_detail_head
from rtseg_jax.architecture.network_spec import Published
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.config import base_config, run_spec
from rtseg_jax.deployment.trained import load_trained
from rtseg_jax.describe import describe
from rtseg_jax.errors import UserError
from rtseg_jax.models.variables import grafted
from rtseg_jax.training import run
from rtseg_jax.training.placement import make_placement
from rtseg_jax.training.teaching import teacher_of
from rtseg_jax.training.train_and_evaluate import train_and_evaluate
from rtseg_jax.training.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Tiny(NetworkSpec):
    """A block at 1/8, one at 1/16, and a head."""

    width: int = 4

    def declare(self):
        """The network."""
        n = Sketch(self.num_classes)
        x = n.block("fine", "conv", "encoder").conv("conv", n.image, self.width, stride=8, activation="relu")
        x = n.block("coarse", "conv", "encoder").conv("conv", x, self.width, stride=2, activation="relu")
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, x), n.image)
        return n.network()


@dataclasses.dataclass(frozen=True)
class Wide(Tiny):
    """The same, wider."""

    width: int = 6


@pytest.fixture
def networks(monkeypatch):
    for name, cls in (("tiny", Tiny), ("wide", Wide)):
        monkeypatch.setattr(cls, "name", name)
        monkeypatch.setattr(cls, "published", Published(name, "nobody", "", ""), raising=False)
        monkeypatch.setitem(NetworkSpec.registry, name, cls)
    monkeypatch.setattr(run, "make_placement", lambda spec: make_placement(spec, jax.devices()[:1]))


def config_of(model, **loss):
    config = base_config()
    config.model, config.phases = model, ("train",)
    config.data.stand_in = True
    config.data.train_size = config.data.eval_size = config.data.base_size = (32, 64)
    config.data.num_train, config.data.num_validation = 4, 2
    config.batch_size, config.train.eval_batch_size = 2, 2
    config.train.pretrain_steps, config.train.search_steps, config.train.finetune_steps = 0, 0, 2
    config.train.log_every = config.train.checkpoint_every = 1
    config.train.eval_every, config.train.num_threads, config.train.tensorboard = 0, 1, False
    config.loss.update(loss)
    return config


def test_a_student_learns_from_a_finished_run_and_from_edges(networks, tmp_path):
    train_and_evaluate(config_of("wide"), tmp_path / "teacher")
    weights = {"teacher": str(tmp_path / "teacher"), "lam": 1.0, "pairwise": 10.0, "channelwise": 3.0, "detail": 1.0}
    config = config_of("tiny", kl_first="teacher", **weights)
    assert "teacher" in describe(run_spec(config))
    train_and_evaluate(config, tmp_path / "student")
    rows = [json.loads(line) for line in (tmp_path / "student" / "history.jsonl").read_text().splitlines()]
    first, second = (row["losses"] for row in rows if "losses" in row)
    assert set(first) == {"segmentation", "auxiliary", "distillation", "pairwise", "channelwise", "detail", "total"}
    for losses in (first, second):
        weighed = losses["segmentation"] + losses["auxiliary"] + losses["detail"]
        weighed += losses["distillation"] + 10 * losses["pairwise"] + 3 * losses["channelwise"]
        assert losses["total"] == pytest.approx(weighed, rel=1e-5)
        assert min(losses["distillation"], losses["pairwise"], losses["channelwise"], losses["detail"]) > 0
    trained = load_trained(Workdir(tmp_path / "student"))  # the head that guided it is gone
    assert set(trained.variables["params"]) == {"fine", "coarse", "head"}
    spec = run_spec(config)
    assert teacher_of(spec) == declare(Wide(spec.info.num_classes))
    (tmp_path / "teacher" / "classes.json").write_text('{"classes": ["a", "b"]}')
    with pytest.raises(UserError, match=r"has 2 classes \(a, b, …\), this data set has 19"):
        train_and_evaluate(config, tmp_path / "other")
    (tmp_path / "teacher" / "architecture.json").unlink()
    with pytest.raises(UserError, match="holds no finished network"):
        train_and_evaluate(config, tmp_path / "other")


def test_the_detail_head_reads_the_first_maps_at_an_eighth():
    network = declare(Tiny(3))
    assert default_block(network).name == "fine"
    assert with_detail_head(network).detail.inputs == (network.blocks[0].output, network.image)
    assert with_detail_head(network, "coarse").detail.inputs[0] == network.blocks[1].output
    assert with_detail_head(network).detail.output.size((32, 64)) == (32, 64)
    with pytest.raises(UserError, match="'middle', no block of this network; there are fine, coarse, head"):
        with_detail_head(network, "middle")


def test_classes_are_told_from_what_the_classifier_reads():
    assert features(declare(Tiny(3))).name == "coarse.conv"
    assert features(declare(network_class("deeplabv3plus")(3))).name == "head.conv"  # not the fine map beside it
    assert features(declare(network_class("stdc1")(3))).name == "head.conv"
    assert features(declare(network_class("bisenetv2")(3))).name == "head.conv"  # dropout lies between


def test_grafting_keeps_what_both_trees_have():
    tree = {"a": np.zeros(2), "b": (np.zeros(3), {"c": np.zeros(1)})}
    known = {"a": np.ones(2), "b": (np.ones(3), {}), "d": np.ones(9)}
    result = grafted(tree, known)
    expected = {"a": np.ones(2), "b": (np.ones(3), {"c": np.zeros(1)})}
    jax.tree.map(np.testing.assert_array_equal, result, expected)


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        ("fast_scnn", {"lam": 1.0}, "fast_scnn has no supernet to learn from; name who teaches it"),
        ("rtseg", {"teacher": "there"}, "a teacher is named but teaches nothing"),
        ("rtseg", {"channelwise": 3.0}, "pairwise and channelwise need a teacher"),
    ],
)
def test_settings_that_teach_nothing_are_refused(model, loss, message):
    config = base_config()
    config.model = model
    config.loss.update(loss)
    with pytest.raises(UserError, match=message):
        run_spec(config)


def test_a_supernet_is_neither_guided_nor_taught():
    config = base_config()
    config.loss.update({"teacher": "there", "lam": 1.0, "pairwise": 1.0, "detail": 1.0, "detail_at": "detail_3_3"})
    loss = run_spec(config).loss.of_supernet
    off = (loss.lam, loss.pairwise, loss.channelwise, loss.teacher, loss.detail, loss.detail_at)
    assert off == (0.0, 0.0, 0.0, None, 0.0, "")
