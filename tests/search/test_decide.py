"""From indicators and logits to an architecture inside the target, priced by a formula of MACs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rtseg_jax.architecture import MIXED, PATHS, ArchSpec, NetworkSpec, counts, declare, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.search.arch_params import ArchParams, initialize, path_probabilities, width_masks
from rtseg_jax.search.decide import (
    LatencyOf,
    check_reachable,
    decide,
    full_widths,
    live_groups,
    make_spec,
    reachable_range,
)
from rtseg_jax.search.uniform import mixed_paths, supernet_spec, uniform_spec
from rtseg_jax.training.optimizers import architecture_optimizer
from rtseg_jax.training.specs import SearchSpec

SPEC = NetworkSpec(19, width=1.0, segment_blocks=(1, 1, 1))
NETWORK = declare(SPEC)
SIZE = (256, 512)


def latency(kept, paths):
    """Milliseconds: 0.02 per block, and one per GMAC."""

    def number(group):
        return kept.get(group.name, group.size)

    total = 0.0
    for choice, block in NETWORK.walk():
        cost = 0.02 + counts.block_macs(block, SIZE, number) / 1e9
        weight = 1.0 if choice is None else paths[choice[0]][PATHS.index(choice[1])]
        total = total + weight * cost
    return total


@pytest.fixture(scope="module")
def latency_of():
    return LatencyOf(NETWORK, latency)


def random_params(seed, spread=0.5):
    """Indicators around one half (each group around a mean of its own), path logits around zero."""
    rng = np.random.default_rng(seed)
    widths = {
        group.name: jnp.asarray(rng.normal(rng.uniform(0, 1), spread, group.size), jnp.float32)
        for group in NETWORK.searched_groups
    }
    paths = {mixed.name: jnp.asarray(rng.normal(0, 1, 3), jnp.float32) for mixed in NETWORK.mixed_blocks}
    return ArchParams(widths, paths)


def test_latency_is_that_of_the_declared_network(latency_of):
    arch = decide(SPEC, NETWORK, random_params(0), latency_of, 4.0).spec
    network = declare_spec(arch)
    expected = counts.macs(network, SIZE) / 1e9 + 0.02 * len(network.plain_blocks)
    assert latency_of(arch.widths, arch.paths) == pytest.approx(expected, rel=1e-5)


def test_decisions_land_in_the_target(latency_of):
    floors = {group.name: group.floor for group in NETWORK.searched_groups}
    low, high = reachable_range(NETWORK, latency_of)
    shares = []
    for seed in range(8):
        params = random_params(seed)
        paths = {name: PATHS[int(np.argmax(value))] for name, value in params.paths.items()}
        full = latency_of({}, paths)
        for share in (0.1, 0.3, 0.6, 0.9, 0.99):
            target = low + share * (high - low)
            decision = decide(SPEC, NETWORK, params, latency_of, target)
            if target > full / 0.98:  # these paths have no such network, and the decision says so
                assert decision.latency_ms == pytest.approx(full)
                assert any("outside" in warning for warning in decision.warnings)
                continue
            assert latency_of(floors, paths) <= target
            assert decision.spec.paths == paths
            assert 0.98 <= decision.latency_ms / target <= 1.0, (seed, share)
            assert decision.latency_ms == latency_of(decision.spec.widths, decision.spec.paths)
            assert not any("outside" in warning for warning in decision.warnings)
            shares.append(share)
    assert set(shares) >= {0.1, 0.3, 0.6, 0.9}


def test_the_largest_indicators_are_kept_in_whole_slices(latency_of):
    params = random_params(3)
    decision = decide(SPEC, NETWORK, params, latency_of, 4.0)
    groups = {group.name: group for group in live_groups(NETWORK, decision.spec.paths)}
    assert decision.kept.keys() == decision.spec.widths.keys() == groups.keys()
    for name, indices in decision.kept.items():
        indicators = np.asarray(params.widths[name])
        largest = np.argsort(-indicators, kind="stable")[: len(indices)]
        assert set(indices.tolist()) == set(largest.tolist())
        assert list(indices) == sorted(indices)
        assert len(indices) == decision.spec.widths[name] == groups[name].snap(len(indices))
    declare_spec(decision.spec)


def test_paths_give_way_where_nothing_else_fits(latency_of):
    """The target is below what three attention paths cost at the smallest widths: the least certain become skip."""
    floors = {group.name: group.floor for group in NETWORK.searched_groups}
    names = [mixed.name for mixed in NETWORK.mixed_blocks]
    params = random_params(1)._replace(
        paths={name: jnp.array([0.0, -1.0, certainty]) for name, certainty in zip(names, (0.1, 3.0, 2.0), strict=True)}
    )
    every = dict.fromkeys(names, "mhsa")
    one_less = {**every, names[0]: "skip"}
    target = (latency_of(floors, every) + latency_of(floors, one_less)) / 2
    assert decide(SPEC, NETWORK, params, latency_of, target).spec.paths == one_less


def test_targets_out_of_reach_name_the_range(latency_of):
    low, high = reachable_range(NETWORK, latency_of)
    costly = {mixed.name: "mhsa" for mixed in NETWORK.mixed_blocks}
    for mixed in NETWORK.mixed_blocks:
        if latency_of({}, {**costly, mixed.name: "lir"}) > latency_of({}, costly):
            costly[mixed.name] = "lir"
    floors = {group.name: group.floor for group in NETWORK.searched_groups}
    assert high == latency_of(full_widths(NETWORK), costly)
    assert low == latency_of(floors, {mixed.name: "skip" for mixed in NETWORK.mixed_blocks})
    check_reachable(low, (low, high))
    check_reachable(high, (low, high))
    for target in (0.99 * low, 1.01 * high):
        with pytest.raises(
            UserError, match=f"{target:.3f} ms .* {low:.3f} to {high:.3f} ms; set config.latency.target"
        ):
            check_reachable(target, (low, high))


def test_warnings(latency_of):
    skipping = random_params(0)._replace(
        paths={mixed.name: jnp.array([5.0, 0.0, 0.0]) for mixed in NETWORK.mixed_blocks}
    )
    (warning,) = decide(SPEC, NETWORK, skipping, latency_of, 2.0).warnings
    assert warning.startswith("every mixed block collapsed to skip")
    low, _ = reachable_range(NETWORK, latency_of)
    warnings = decide(SPEC, NETWORK, skipping, latency_of, low).warnings
    assert any(warning.startswith("every width is at its floor") for warning in warnings)


def test_live_groups_by_hand():
    spec = NetworkSpec(3, width=0.25, segment_blocks=(1, 0, 0), head_width=8)
    network = declare(spec)
    lir = {"stage8_1_lir.conv", "stage8_1_lir.expand"}
    mhsa = {"stage8_1_mhsa.tokens", "stage8_1_mhsa.heads", "stage8_1_mhsa.hidden"}
    every = {group.name for group in network.searched_groups}
    gone = {path: every - {g.name for g in live_groups(network, {"stage8_1": path})} for path in (*PATHS, MIXED)}
    assert gone == {"skip": lir | mhsa, "lir": mhsa, "mhsa": lir, MIXED: set()}
    widths = make_spec(spec, network, full_widths(network), {"stage8_1": "lir"}).widths
    assert set(widths) == every - mhsa


# --- the uniform baseline ---


def test_supernet_spec_declares_the_supernet():
    assert declare_spec(supernet_spec(SPEC, NETWORK)) == NETWORK


@pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
def test_uniform_is_within_the_target_and_maximal(latency_of, share):
    paths = mixed_paths(NETWORK)
    target = share * latency_of({}, paths)
    spec = uniform_spec(SPEC, NETWORK, latency_of, target)
    assert spec.paths == paths
    assert latency_of(spec.widths, paths) <= target

    def at(factor):
        return {group.name: group.snap(round(factor * group.size)) for group in NETWORK.searched_groups}

    networks = [at(number / 1000) for number in range(1001)]
    index = max(number for number, widths in enumerate(networks) if widths == dict(spec.widths))
    assert latency_of(networks[index + 1], paths) > target


# --- a search by latency alone ---


def importance_tree(network, seed):
    """Kernels and scales as `initialize` reads them."""
    rng = np.random.default_rng(seed)
    tree = {}
    for block in network.plain_blocks:
        tree[block.name] = {
            op.name: {
                "kernel": rng.standard_normal((1, 1, 2, op.output.channels)),
                **({"norm": {"scale": np.ones(op.output.channels)}} if getattr(op, "norm", True) else {}),
            }
            for op in block.ops
        }
    return tree


def test_indicators_start_distinct():
    params = initialize(NETWORK, importance_tree(NETWORK, 0), seed=1)
    assert params.widths.keys() == {group.name for group in NETWORK.searched_groups}
    for group in NETWORK.searched_groups:
        values = np.asarray(params.widths[group.name])
        assert len(np.unique(values)) == group.size
        assert values.min() == pytest.approx(0.75)
        assert values.max() <= 1.25
    assert all(not value.any() for value in params.paths.values())
    again = initialize(NETWORK, importance_tree(NETWORK, 0), seed=1)
    other = initialize(NETWORK, importance_tree(NETWORK, 0), seed=2)
    np.testing.assert_array_equal(params.widths["stage8"], again.widths["stage8"])
    assert (params.widths["stage8"] != other.widths["stage8"]).any()


def test_indicators_start_in_the_order_of_importance():
    tree = importance_tree(NETWORK, 0)
    scale = np.linspace(1, -3, 64)  # its size counts, not its sign
    tree["detail_1_2"]["conv"]["norm"]["scale"] = scale
    values = np.asarray(initialize(NETWORK, tree, seed=1).widths["detail_1_2"])
    order = np.argsort(np.abs(scale))
    assert np.all(np.diff(values[order][np.abs(scale)[order] > 1]) > 0)
    assert values.argmax() == 63


@functools.cache
def search_by_latency(steps):
    """A search of the widths and paths by |latency − target| alone: target ↦ per step latency, widths kept, logits."""
    params = initialize(NETWORK, importance_tree(NETWORK, 0), seed=0)
    spec = SearchSpec(width_rate=0.0, path_rate=0.05, temperature_start=5.0, temperature_end=0.5, freeze_paths=0.7)

    def gap(params, target):
        kept = {name: mask.sum() for name, mask in width_masks(NETWORK, params.widths).items()}
        value = latency(kept, path_probabilities(params))
        return jnp.abs(value - target), (value, kept)

    # As a search chooses it: latency alone moves a median indicator by 0.5 in a fifth of the search.
    slopes = jax.grad(lambda params: gap(params, 0.0)[0])(params).widths.values()
    median = float(np.median(np.concatenate([np.asarray(slope) for slope in slopes])))
    optimizer = architecture_optimizer(spec, 0.5 / (0.2 * steps * median), steps, 1)

    @jax.jit
    def run(target):
        def step(carry, _):
            params, state = carry
            gradients, (value, kept) = jax.grad(gap, has_aux=True)(params, target)
            updates, state = optimizer.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), (value, kept, params.paths)

        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)[1]

    return run


@pytest.mark.parametrize("fraction", [0.3, 0.6])
def test_search_by_latency_alone_reaches_its_target_and_empties_no_group(latency_of, fraction):
    target = fraction * latency_of({}, mixed_paths(NETWORK))
    values, kept, paths = search_by_latency(600)(target)
    assert values[0] > 1.1 * target
    assert min(values) < target
    floors = {group.name: group.floor for group in NETWORK.searched_groups}
    for name, numbers in kept.items():
        assert np.min(numbers) >= floors[name]
    for logits in paths.values():
        assert np.any(logits[419] != logits[0])
        np.testing.assert_array_equal(logits[420:], np.broadcast_to(logits[420], logits[420:].shape))  # frozen


@pytest.mark.parametrize("fraction", [0.3, 0.6])
def test_search_by_latency_alone_stays_at_its_target(latency_of, fraction):
    target = fraction * latency_of({}, mixed_paths(NETWORK))
    values, _, _ = search_by_latency(600)(target)
    assert np.abs(np.asarray(values[-5:]) / target - 1).max() < 0.02


def test_arch_specs_of_decisions_survive_their_file(latency_of, tmp_path):
    spec = decide(SPEC, NETWORK, random_params(7), latency_of, 3.0).spec
    spec.save(tmp_path / "architecture.json")
    assert ArchSpec.load(tmp_path / "architecture.json") == spec


def test_latency_reaches_every_indicator_of_a_possible_path():
    """Path probabilities are never zero, so no indicator is out of reach; where a weight is zero, nothing arrives."""
    params = random_params(5)

    def predicted(widths, paths):
        return latency({name: mask.sum() for name, mask in width_masks(NETWORK, widths).items()}, paths)

    gradients = jax.grad(predicted)(params.widths, path_probabilities(params))
    for name, gradient in gradients.items():
        assert np.all(np.asarray(gradient) > 0), name
    only_lir = {mixed.name: jnp.array([0.0, 1.0, 0.0]) for mixed in NETWORK.mixed_blocks}
    gradients = jax.grad(predicted)(params.widths, only_lir)
    for name, gradient in gradients.items():
        assert np.all((np.asarray(gradient) > 0) == ("_mhsa" not in name)), name
