"""A new candidate of the search is one function and one row: everything else follows."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.architecture import MIXED, SKIP, ArchSpec, NetworkSpec, counts, declare, declare_spec, live_groups
from rtseg_jax.describe import allowed_widths, search_space_log10
from rtseg_jax.errors import UserError
from rtseg_jax.latency import check_network
from rtseg_jax.models import SegmentationNetwork, initial_variables
from rtseg_jax.search import arch_params
from rtseg_jax.search.arch_params import ArchParams
from rtseg_jax.search.budget import Budget
from rtseg_jax.search.cost import Target
from rtseg_jax.search.decide import CostOf, decide, most_probable
from rtseg_jax.zoo import RTSeg, rtseg
from rtseg_jax.zoo.bisenetv2 import conv_block

SIZE = (64, 128)


def plain(spec, name, x, stage):
    """One convolution."""
    (stage_group,) = x.groups
    return conv_block(spec.builder(name, "conv", "segment"), x, stage_group, 1)


@pytest.fixture
def spec(monkeypatch):
    monkeypatch.setitem(rtseg.CANDIDATES, "plain", plain)
    return RTSeg(5, width=0.25, segment_blocks=(1, 1, 0), head_width=8, candidates=("lir", "mhsa", "plain"))


def test_the_supernet_has_one_more_choice(spec):
    network = declare(spec)
    assert [mixed.choices for mixed in network.mixed_blocks] == [(SKIP, "lir", "mhsa", "plain")] * 2
    assert network.mixed_blocks[0].weights(MIXED) == (0.0, 1.0, 1.0, 1.0)
    assert network.mixed_blocks[0].weights("plain") == (0.0, 0.0, 0.0, 1.0)
    widths = sum(math.log10(len(allowed_widths(group))) for group in network.searched_groups)
    assert search_space_log10(network) == pytest.approx(widths + 2 * math.log10(4))


def test_it_can_be_decided_on(spec):
    network = declare(spec)
    variables = initial_variables(SegmentationNetwork(network), 0)
    start = arch_params.initialize(network, variables["params"], seed=0)
    assert {name: logits.shape for name, logits in start.paths.items()} == {"stage8_1": (4,), "stage16_1": (4,)}
    wanted = {name: jnp.asarray([0.0, 0.0, 0.0, 9.0]) for name in start.paths}
    params = ArchParams(start.widths, wanted)
    assert most_probable(network, params) == {"stage8_1": "plain", "stage16_1": "plain"}
    budget = Budget.parse("gmacs:0.02")
    cost_of = CostOf(network, budget.of_network(network, SIZE))
    paths = dict.fromkeys(wanted, "plain")
    widths = {group.name: group.size for group in live_groups(network, paths)}
    target = 0.7 * cost_of(widths, paths)
    decision = decide(spec, network, params, cost_of, Target(target, budget.aim.unit))
    assert dict(decision.spec.paths) == paths
    found = counts.macs(declare_spec(decision.spec), SIZE) / 1e9
    assert found == pytest.approx(decision.cost, rel=1e-5)
    assert 0.98 * target <= found <= target


def test_a_path_taken_is_its_block_alone(spec):
    network = declare(spec)
    paths = {"stage8_1": "plain", "stage16_1": SKIP}
    widths = {group.name: group.size for group in live_groups(network, paths)}
    decided = declare_spec(ArchSpec(spec, widths, paths))
    names = [block.name for block in decided.blocks]
    assert "stage8_1_plain" in names
    assert not any("lir" in name or "mhsa" in name or name.startswith("stage16_1") for name in names)
    assert ArchSpec.from_json(ArchSpec(spec, widths, paths).to_json()).network == spec


def test_candidates_that_do_not_exist():
    with pytest.raises(UserError, match="there is no 'plain'; there are mixed, lir, mhsa"):
        RTSeg(5, candidates=("lir", "plain"))
    with pytest.raises(UserError, match="name each operator once"):
        RTSeg(5, candidates=("lir", "lir"))


def test_importance_follows_the_norms():
    """By hand: the mean of the scales of all four norms that write a group's channels."""
    network = declare(RTSeg(3, width=0.25, segment_blocks=(1, 0, 0), block="lir"))
    params = initial_variables(SegmentationNetwork(network), 0)["params"]
    params["stage8_down"]["project"]["norm"]["scale"] = np.arange(8.0)
    params["stage8_down"]["shortcut_project"]["norm"]["scale"] = -np.arange(8.0)
    params["stage8_1"]["project"]["norm"]["scale"] = np.full(8, 3.0)
    found = arch_params.importance(network, params)["stage8"]
    # The fourth is that of the next stage's depthwise shortcut, as fresh as it is drawn.
    np.testing.assert_allclose(found, (2 * np.arange(8.0) + 3.0 + 1.0) / 4)


@pytest.mark.parametrize("activation", ["gelu", "hard_swish", "relu"])
def test_the_activation_of_the_token_mlp_is_a_setting(activation: str):
    networks = [declare(RTSeg(5, width=0.25, mlp_activation=name)) for name in (activation, "gelu")]
    found, usual = ([op for block in n.plain_blocks for op in block.ops if op.name == "mlp_1"] for n in networks)
    assert len(found) == 7
    assert found == [dataclasses.replace(op, activation=activation) for op in usual]


def test_an_activation_that_integers_do_not_know_is_refused():
    with pytest.raises(UserError, match=r"mlp_activation is 'silu': it must be one of gelu, hard_swish, relu"):
        RTSeg(5, mlp_activation="silu")


def test_a_predictor_of_before_the_setting_is_of_its_usual_value():
    spec = RTSeg(5, width=0.25)
    measured = spec.to_json()
    assert "mlp_activation" not in measured["fields"]  # digests of before stay
    check_network({"network": measured}, spec, "p.json")
    with pytest.raises(UserError, match=r"measured on a supernet with mlp_activation gelu, this one has relu"):
        check_network({"network": measured}, (other := dataclasses.replace(spec, mlp_activation="relu")), "p.json")
    with pytest.raises(UserError, match=r"measured on a supernet with mlp_activation relu, this one has gelu"):
        check_network({"network": other.to_json()}, spec, "p.json")
    assert NetworkSpec.from_json(other.to_json()) == other
