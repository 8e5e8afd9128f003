import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.architecture import MIXED, ArchSpec, counts, declare, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.latency.sampling import sample_networks
from rtseg_jax.search.budget import Budget
from rtseg_jax.search.cost import Target
from rtseg_jax.zoo import RTSeg

SPEC = RTSeg(num_classes=5, width=0.25, segment_blocks=(1, 1, 1))
SUPERNET = declare(SPEC)
SIZE = (64, 128)
FULL = {group.name: jnp.float32(group.size) for group in SUPERNET.searched_groups}


@pytest.mark.parametrize("text", ["gmacs", "gmacs:", "gmacs:-1", "gmacs:nan", "ms:5", "5.7", ""])
def test_what_is_no_budget_is_refused_with_an_example(text):
    with pytest.raises(
        UserError, match=r"gmacs:NUMBER \(GMACs\) or mparams:NUMBER \(M parameters\), such as gmacs:5\.7"
    ):
        Budget.parse(text)


def test_the_supernet_costs_what_the_exact_counts_say():
    assert Budget.parse("gmacs:5.7") == Budget("gmacs", 5.7)
    assert [Budget(kind, 2.0).aim for kind in ("gmacs", "mparams")] == [
        Target(2.0, "GMACs"),
        Target(2.0, "M parameters"),
    ]
    macs = Budget("gmacs", 1.0).of_network(SUPERNET, SIZE)(FULL, {})
    np.testing.assert_allclose(macs, counts.macs(SUPERNET, SIZE) / 1e9, rtol=1e-6)
    parameters = Budget("mparams", 1.0).of_network(SUPERNET, SIZE)({}, {})
    np.testing.assert_allclose(parameters, counts.parameters(SUPERNET) / 1e6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["gmacs", "mparams"])
def test_decided_networks_cost_what_the_function_says_of_their_choice(kind):
    budget = Budget(kind, 1.0)
    function = budget.of_network(SUPERNET, SIZE)
    one_hot = {"skip": (1.0, 0.0, 0.0), "lir": (0.0, 1.0, 0.0), "mhsa": (0.0, 0.0, 1.0), MIXED: (0.0, 1.0, 1.0)}
    for arch in sample_networks(SPEC, 6, seed=1):
        kept = {name: jnp.float32(width) for name, width in arch.widths.items()}
        weights = {name: jnp.asarray(one_hot[path]) for name, path in arch.paths.items()}
        network = declare_spec(arch)
        exact = counts.macs(network, SIZE) / 1e9 if kind == "gmacs" else counts.parameters(network) / 1e6
        np.testing.assert_allclose(function(kept, weights), exact, rtol=1e-6)
        assert budget.of_arch(arch, SIZE) == pytest.approx(exact, rel=1e-12)


def test_gradients_are_differences_of_counts():
    # Each count is linear in one width at a time, so the slope is the difference that one channel makes.
    function = Budget("gmacs", 1.0).of_network(SUPERNET, SIZE)
    slopes = jax.grad(lambda kept: function(kept, {}))(FULL)
    everything = {group.name: group.size for group in SUPERNET.searched_groups}
    paths = {block.name: MIXED for block in SUPERNET.mixed_blocks}
    for name in ("detail_1_2", "context"):
        group = next(group for group in SUPERNET.searched_groups if name in group.name)
        fewer = ArchSpec(SPEC, {**everything, group.name: group.size - 1}, paths)
        full = ArchSpec(SPEC, everything, paths)
        macs = [counts.macs(declare_spec(arch), SIZE) / 1e9 for arch in (full, fewer)]
        np.testing.assert_allclose(slopes[group.name], macs[0] - macs[1], rtol=1e-4)
