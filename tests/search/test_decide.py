"""From indicators and logits to an architecture inside the target, priced by a formula of MACs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rtseg_jax.architecture import MIXED, ArchSpec, counts, declare, declare_spec, live_groups
from rtseg_jax.config import base_config
from rtseg_jax.errors import UserError
from rtseg_jax.search.arch_params import ArchParams, initialize, path_probabilities, width_masks
from rtseg_jax.search.cost import Target
from rtseg_jax.search.decide import (
    CostOf,
    check_reachable,
    decide,
    full_widths,
    make_spec,
    reachable_range,
)
from rtseg_jax.search.uniform import FORMS, mixed_paths, supernet_spec, uniform_spec
from rtseg_jax.training.optimizers import Rates, architecture_optimizer
from rtseg_jax.training.specs import SearchSpec
from rtseg_jax.zoo import RTSeg

PATHS = ("skip", "lir", "mhsa")

SPEC = RTSeg(19, width=1.0, segment_blocks=(1, 1, 1))
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
def cost_of():
    return CostOf(NETWORK, latency)


def random_params(seed, spread=0.5):
    """Indicators around one half (each group around a mean of its own), path logits around zero."""
    rng = np.random.default_rng(seed)
    widths = {
        group.name: jnp.asarray(rng.normal(rng.uniform(0, 1), spread, group.size), jnp.float32)
        for group in NETWORK.searched_groups
    }
    paths = {mixed.name: jnp.asarray(rng.normal(0, 1, 3), jnp.float32) for mixed in NETWORK.mixed_blocks}
    return ArchParams(widths, paths)


def test_latency_is_that_of_the_declared_network(cost_of):
    arch = decide(SPEC, NETWORK, random_params(0), cost_of, Target(4.0)).spec
    network = declare_spec(arch)
    expected = counts.macs(network, SIZE) / 1e9 + 0.02 * len(network.plain_blocks)
    assert cost_of(arch.widths, arch.paths) == pytest.approx(expected, rel=1e-5)


def random_latency(seed):
    """Another device: every block has its own milliseconds per GMAC, per call and per channel."""
    rng = np.random.default_rng(seed)
    rates = {block.name: (rng.exponential(0.02), np.exp(rng.normal())) for _, block in NETWORK.walk()}
    per_channel = {group.name: rng.exponential(1e-4) for group in NETWORK.searched_groups}

    def latency(kept, paths):
        def number(group):
            return kept.get(group.name, group.size)

        total = 0.0
        for choice, block in NETWORK.walk():
            fixed, per_gmac = rates[block.name]
            cost = fixed + per_gmac * counts.block_macs(block, SIZE, number) / 1e9
            for group in {op.output.groups[0] for op in block.ops if op.output.groups[0].searched}:
                cost = cost + per_channel[group.name] * number(group)
            weight = 1.0 if choice is None else paths[choice[0]][PATHS.index(choice[1])]
            total = total + weight * cost
        return total

    return CostOf(NETWORK, latency)


@pytest.mark.parametrize("device", range(3))
def test_every_reachable_target_is_landed_in_and_latency_never_falls_as_it_rises(device):
    """Whatever the indicators and logits; neighbouring targets are closer than the landing is wide."""
    floors = {group.name: group.floor for group in NETWORK.searched_groups}
    cost_of = random_latency(device)
    low, high = reachable_range(NETWORK, cost_of)
    seen = set()
    for seed in range(6):
        params = random_params(seed)
        wanted = {name: PATHS[int(np.argmax(value))] for name, value in params.paths.items()}
        before = 0.0
        targets = np.geomspace(low, high, 12).repeat(2) * np.tile([1.0, 1.003], 12)
        for target in targets.clip(low, high).tolist():
            decision = decide(SPEC, NETWORK, params, cost_of, Target(target))
            assert 0.98 <= decision.cost / target <= 1.0, (seed, target)
            assert decision.cost == cost_of(decision.spec.widths, decision.spec.paths)
            assert decision.cost >= before
            before = decision.cost
            slow, fast = cost_of(floors, wanted) > target, cost_of({}, wanted) < 0.98 * target
            assert (decision.spec.paths != wanted) == (slow or fast)
            assert any("the least certain moved" in warning for warning in decision.warnings) == (slow or fast)
            seen.add((slow, fast))
    assert seen == {(False, False), (True, False), (False, True)}


def test_the_largest_indicators_are_kept_in_whole_slices(cost_of):
    params = random_params(3)
    decision = decide(SPEC, NETWORK, params, cost_of, Target(4.0))
    groups = {group.name: group for group in live_groups(NETWORK, decision.spec.paths)}
    assert decision.kept.keys() == decision.spec.widths.keys() == groups.keys()
    for name, indices in decision.kept.items():
        indicators = np.asarray(params.widths[name])
        largest = np.argsort(-indicators, kind="stable")[: len(indices)]
        assert set(indices.tolist()) == set(largest.tolist())
        assert list(indices) == sorted(indices)
        assert len(indices) == decision.spec.widths[name] == groups[name].snap(len(indices))
    declare_spec(decision.spec)


@pytest.mark.parametrize("target", [2.0, 4.0, 6.0])
def test_slices_are_taken_one_after_the_other_by_their_largest_indicator(cost_of, target):
    """The same widths, written as one pass over all slices; a group that is refused one stays as it is."""
    params = random_params(4)
    decision = decide(SPEC, NETWORK, params, cost_of, Target(target))
    groups = live_groups(NETWORK, decision.spec.paths)
    slices = []
    for group in groups:
        ordered = np.sort(np.asarray(params.widths[group.name]))[::-1]
        starts = range(group.floor, group.size, group.multiple)
        slices += [(ordered[start], min(start + group.multiple, group.size), group.name) for start in starts]
    widths, closed = {group.name: group.floor for group in groups}, set()
    for _, width, name in sorted(slices, reverse=True):
        grown = {**widths, name: width}
        if name not in closed and cost_of(grown, decision.spec.paths) <= target:
            widths = grown
        else:
            closed.add(name)
    assert decision.spec.widths == widths
    assert closed


def test_paths_give_way_where_nothing_else_fits(cost_of):
    """The target is below what three attention paths cost at the smallest widths: the least certain become skip."""
    floors = {group.name: group.floor for group in NETWORK.searched_groups}
    names = [mixed.name for mixed in NETWORK.mixed_blocks]
    params = random_params(1)._replace(
        paths={name: jnp.array([0.0, -1.0, certainty]) for name, certainty in zip(names, (0.1, 3.0, 2.0), strict=True)}
    )
    every = dict.fromkeys(names, "mhsa")
    one_less = {**every, names[0]: "skip"}
    target = (cost_of(floors, every) + cost_of(floors, one_less)) / 2
    assert decide(SPEC, NETWORK, params, cost_of, Target(target)).spec.paths == one_less


def test_paths_become_costlier_where_full_widths_are_too_fast(cost_of):
    """Skip everywhere cannot take that long: blocks move in the order of what it costs them, and no more than must."""
    names = [mixed.name for mixed in NETWORK.mixed_blocks]
    losses = zip(names, (0.6, 0.5, 4.0), strict=True)
    params = random_params(1)._replace(paths={name: jnp.array([3.0, 3.0 - loss, -9.0]) for name, loss in losses})
    expected = dict.fromkeys(names, "skip")
    for name in (names[1], names[0], names[2]):
        faster, expected = cost_of({}, expected), {**expected, name: "lir"}
        target = (faster + cost_of({}, expected)) / 2 / 0.98
        decision = decide(SPEC, NETWORK, params, cost_of, Target(target))
        assert decision.spec.paths == expected
        assert 0.98 <= decision.cost / target <= 1.0


def test_targets_out_of_reach_name_the_range(cost_of):
    low, high = reachable_range(NETWORK, cost_of)
    costly = {mixed.name: "mhsa" for mixed in NETWORK.mixed_blocks}
    for mixed in NETWORK.mixed_blocks:
        if cost_of({}, {**costly, mixed.name: "lir"}) > cost_of({}, costly):
            costly[mixed.name] = "lir"
    floors = {group.name: group.floor for group in NETWORK.searched_groups}
    assert high == cost_of(full_widths(NETWORK), costly)
    assert low == cost_of(floors, {mixed.name: "skip" for mixed in NETWORK.mixed_blocks})
    check_reachable(Target(low), (low, high))
    check_reachable(Target(high), (low, high))
    for target in (0.99 * low, 1.01 * high):
        with pytest.raises(
            UserError, match=f"{target:.3f} ms .* {low:.3f} to {high:.3f} ms; set config.latency.target"
        ):
            check_reachable(Target(target), (low, high))


def test_warnings(cost_of):
    skipping = random_params(0)._replace(
        paths={mixed.name: jnp.array([5.0, 0.0, 0.0]) for mixed in NETWORK.mixed_blocks}
    )
    (warning,) = decide(SPEC, NETWORK, skipping, cost_of, Target(2.0)).warnings
    assert warning.startswith("every mixed block collapsed to skip")
    low, _ = reachable_range(NETWORK, cost_of)
    warnings = decide(SPEC, NETWORK, skipping, cost_of, Target(low)).warnings
    assert any(warning.startswith("every width is at its floor") for warning in warnings)


def test_live_groups_by_hand():
    spec = RTSeg(3, width=0.25, segment_blocks=(1, 0, 0), head_width=8)
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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.15, 0.6])
def test_uniform_is_within_the_target_and_nothing_more_fits(cost_of, share, form):
    path, head = FORMS[form]
    paths = {mixed.name: path for mixed in NETWORK.mixed_blocks}
    target = share * cost_of({}, mixed_paths(NETWORK))
    spec = uniform_spec(SPEC, NETWORK, cost_of, target, form)
    assert spec.paths == paths
    assert cost_of(spec.widths, paths) <= target
    groups = live_groups(NETWORK, paths)
    assert set(spec.widths) == {group.name for group in groups}
    for group in groups:
        grown = {**spec.widths, group.name: group.snap(min(group.size, spec.widths[group.name] + group.multiple))}
        assert grown == spec.widths or cost_of(grown, paths) > target
    # One factor: wherever neither an end nor a slice decides, widths are the same share of what they are scaled from.
    wide = [g for g in groups if g.size >= 128 and g.floor + 8 < spec.widths[g.name] < g.size]
    shares = [spec.widths[g.name] / (g.size * (head if g.name == "head.conv" else 1.0)) for g in wide]
    assert max(shares) - min(shares) < 12 / 128


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
    spec = SearchSpec(**{**base_config().search, "rule": "published"})

    def gap(params, target):
        kept = {name: mask.sum() for name, mask in width_masks(NETWORK, params.widths).items()}
        value = latency(kept, path_probabilities(params))
        return jnp.abs(value - target), (value, kept)

    # As a search chooses it: latency alone moves a median indicator by 0.5 in a fifth of the search.
    slopes = jax.grad(lambda params: gap(params, 0.0)[0])(params).widths.values()
    median = float(np.median(np.concatenate([np.asarray(slope) for slope in slopes])))
    optimizer = architecture_optimizer(spec, Rates(0.5 / (0.2 * steps * median), 0.05), steps, 1)

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
def test_search_by_latency_alone_reaches_its_target_and_empties_no_group(cost_of, fraction):
    target = fraction * cost_of({}, mixed_paths(NETWORK))
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
def test_search_by_latency_alone_stays_at_its_target(cost_of, fraction):
    target = fraction * cost_of({}, mixed_paths(NETWORK))
    values, _, _ = search_by_latency(600)(target)
    assert np.abs(np.asarray(values[-5:]) / target - 1).max() < 0.02


def test_arch_specs_of_decisions_survive_their_file(cost_of, tmp_path):
    spec = decide(SPEC, NETWORK, random_params(7), cost_of, Target(3.0)).spec
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
