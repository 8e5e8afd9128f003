"""Every shipped config builds, differs from the recipe only where it says so, and can be described."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from rtseg_jax.architecture import declare
from rtseg_jax.config import base_config, check_sampling, run_spec
from rtseg_jax.data import dataset_info
from rtseg_jax.describe import describe
from rtseg_jax.errors import UserError
from rtseg_jax.models.rounding import Integers
from rtseg_jax.training import phases

ROOT = Path(__file__).parent.parent
CONFIGS = {path.stem: path for path in sorted((ROOT / "configs").glob("*.py"))}

# data set, size of the network input, width
TABLE = {
    "ade20k": ("ade20k", (512, 512), 2.19),
    "camvid": ("camvid", (352, 480), 0.625),
    "camvid_full": ("camvid", (360, 480), 2.19),
    "folder": ("folder", (512, 512), 2.19),
    "quickstart": ("synthetic_streets", (128, 256), 0.5),
    "published": ("cityscapes", (512, 1024), 2.19),
    "search": ("cityscapes", (512, 1024), 2.19),
    "voc2012": ("voc2012", (513, 513), 2.19),
}


def load(name):
    spec = importlib.util.spec_from_file_location(name, CONFIGS[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_config_is_in_the_table():
    assert set(CONFIGS) == set(TABLE)


def test_every_config_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert [name for name in CONFIGS if f"configs/{name}.py" not in readme] == []


@pytest.mark.parametrize("name", CONFIGS)
def test_builds(name):
    data_set, size, width = TABLE[name]
    config = load(name).get_config()
    config.data.stand_in = name == "folder"  # whose classes stand in the user's files
    spec = run_spec(config)
    assert (spec.data.name, spec.data.eval_size, spec.network.width) == (data_set, size, width)
    assert spec.network.num_classes == dataset_info(spec.data).num_classes
    assert len(declare(spec.network).mixed_blocks) == sum(spec.network.segment_blocks)
    assert f"Network at {size[0]}×{size[1]}" in describe(spec)


@pytest.mark.parametrize("name", CONFIGS)
def test_says_how_to_run_it_on_what_for_how_long_and_how_well(name):
    text = load(name).__doc__
    for word in ("WORKDIR", "Hardware:", "Time", "mIoU"):
        assert word in text, f"configs/{name}.py does not name {word}"


def test_the_recipe_is_the_base_unchanged():
    assert load("search").get_config().to_dict() == base_config().to_dict()


OF_THE_RECIPE = {"base_size"}
"""Of Cityscapes alone: its pictures are halved first; those of other sets come as they are."""


@pytest.mark.parametrize("part", ["network", "data", "train", "loss", "search", "latency"])
def test_a_default_has_one_value(part):
    """What a spec holds where nothing is said is what the recipe says."""
    spec = getattr(run_spec(base_config()), part)
    said = {f.name: f.default for f in dataclasses.fields(spec) if f.default is not dataclasses.MISSING}
    assert {name: getattr(spec, name) for name in said if name not in OF_THE_RECIPE} == {
        name: value for name, value in said.items() if name not in OF_THE_RECIPE
    }


def test_the_published_search_is_the_papers():
    spec = run_spec(load("published").get_config())
    assert (spec.search.rule, spec.search.literal, spec.train.restarts) == ("published", True, True)
    assert (spec.loss.beta, spec.loss.gamma, spec.loss.lam) == (0.01, 1.0, 0.001)
    assert [spec.train.steps(phase) for phase in ("pretrain", "search", "finetune")] == [160_000, 40_000, 40_000]
    assert spec.network == run_spec(load("search").get_config()).network


def test_a_supernet_that_was_hardly_trained_is_no_teacher():
    config = base_config()
    config.loss.lam = 0.001
    with pytest.raises(UserError, match=r'config.loss.lam is 0.001: .* config.search.rule to "published"'):
        run_spec(config)


def test_sizes_that_would_be_sampled_differently_are_refused():
    check_sampling((224, 320), (352, 480))
    check_sampling((232, 320), (360, 480))
    check_sampling((513, 513), (513, 513))
    with pytest.raises(UserError, match=r"train_size has height 224, eval_size 360: .* train at height 232"):
        check_sampling((224, 320), (360, 480))


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("rounds", 0, "config.search.rounds is 0: it must be at least 1"),
        ("samples", 0, "config.search.samples is 0: it must be at least 1"),
        ("prior", -0.1, "config.search.prior is -0.1: it must not be negative"),
    ],
)
def test_settings_of_the_search_by_worth_are_checked(field, value, told):
    config = base_config()
    config.search[field] = value
    with pytest.raises(UserError, match=told):
        run_spec(config)


def test_rounding_needs_integers_and_steps():
    config = base_config()
    assert phases.rounding(run_spec(config), "finetune") is None
    config.train.rounded_steps, config.train.uniform_steps = 200, 100
    with pytest.raises(
        UserError, match=r"rounded_steps is 200, but no integers ship: .*precision is 'float32'; set it"
    ):
        run_spec(config)
    config.latency.precision = "int8_float_attention"
    with pytest.raises(UserError, match=r"rounded_steps is 200: the phase 'uniform' has 100 steps"):
        run_spec(config)
    config.train.uniform_steps = 300
    spec = run_spec(config)
    assert phases.rounding(spec, "pretrain") is None
    assert phases.rounding(spec, "uniform") == (100, Integers(in_attention=False))
    config.train.rounded_steps = -1
    with pytest.raises(UserError, match=r"config.train.rounded_steps is -1: it must be at least 0"):
        run_spec(config)


def test_settings_of_the_published_search_are_checked():
    config = base_config()
    config.search.literal = True
    with pytest.raises(UserError, match=r'config.search.literal is of the published search, and .*rule is "worth"'):
        run_spec(config)
    config.search.rule = "published"
    config.loss.beta = 0.0
    with pytest.raises(UserError, match=r"config.loss.beta is 0.0: a search without a latency term needs"):
        run_spec(config)
    config.search.width_rate = config.search.path_rate = 0.1
    assert run_spec(config).search.literal
    config.search.literal = False  # the mended rule has no scale without β
    with pytest.raises(UserError, match=r"config.loss.beta is 0.0"):
        run_spec(config)
    config.loss.beta, config.search.path_rate = 0.01, -1.0
    with pytest.raises(UserError, match=r"config.search.path_rate is -1.0: it must not be negative"):
        run_spec(config)
