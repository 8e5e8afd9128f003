"""Decisions by worth: by hand on made-up prices, and against all architectures of a small space."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.architecture import Group, declare
from rtseg_jax.search.cost import Target
from rtseg_jax.search.path_choice import Evidence, choose_paths, price_of_narrowing
from rtseg_jax.search.ranking import Ranking
from rtseg_jax.search.rounds import Rounds, decided_paths
from rtseg_jax.search.worth import (
    Bounds,
    Prices,
    below,
    best_widths,
    full_range,
    marginal_worth,
    with_prior,
)
from rtseg_jax.search.worth_params import initial_worth, sample_worth
from rtseg_jax.zoo import RTSeg

A, B = Group("a", 16), Group("b", 16)
C = Group("c", 12)
GROUPS = (A, B)


def linear(a, b):
    """Prices of so many milliseconds per channel."""
    return lambda candidates: np.asarray([a * widths["a"] + b * widths["b"] for widths in candidates], float)


def tiled(candidates):
    """A device that computes eight channels of `a` at once, and those of `b` for nothing."""
    return np.asarray([-(-widths["a"] // 8) * 8.0 for widths in candidates])


def alone(worth):
    """Channels that are worth so much each, whatever becomes of the others."""
    order = np.argsort(-np.asarray(worth), kind="stable")
    return Ranking(order, np.concatenate([[0.0], np.cumsum(np.asarray(worth, float)[order])]))


def totals(worth, prior=0.0):
    """Of the groups that have a worth."""
    return with_prior([group for group in (A, B, C) if group.name in worth], worth, prior)


@pytest.mark.parametrize(
    ("costs", "target", "expected"),
    [
        ((1.0, 1.0), 24.0, {"a": 8, "b": 16}),  # equal prices: the group of less worth gives
        ((0.1, 1.0), 12.0, {"a": 16, "b": 8}),  # cheap channels stay although they are worth less
        ((1.0, 1.0), 100.0, {"a": 16, "b": 16}),
        ((1.0, 1.0), 3.0, {"a": 4, "b": 4}),  # out of reach: the floors
    ],
)
def test_best_widths_weigh_worth_against_cost(costs, target, expected):
    worth = {"a": alone(np.full(16, 1.0)), "b": alone(np.full(16, 2.0))}
    assert best_widths(GROUPS, totals(worth), linear(*costs), target, full_range(GROUPS)) == expected


def test_best_widths_step_over_whole_tiles():
    worth = {"a": alone(np.full(16, 1.0)), "b": alone(np.full(16, 1e-6))}
    assert best_widths(GROUPS, totals(worth), tiled, 8.0, full_range(GROUPS)) == {"a": 8, "b": 16}


def test_prior_by_hand():
    worth = {"a": alone(np.full(16, 1.0)), "b": alone(np.full(16, 2.0))}
    found = totals(worth, prior=0.5)  # of a mean worth of 24
    np.testing.assert_allclose(found["a"][[4, 8, 16]], [4 - 12 * np.log(4) ** 2, 8 - 12 * np.log(2) ** 2, 16])
    np.testing.assert_allclose(found["b"][[4, 8, 16]], [8 - 12 * np.log(4) ** 2, 16 - 12 * np.log(2) ** 2, 32])


@pytest.mark.parametrize(("prior", "expected"), [(0.0, {"a": 12, "b": 4}), (1.0, {"a": 8, "b": 16})])
def test_prior_keeps_what_costs_next_to_nothing(prior, expected):
    """Worth alone takes all it can of a group that says nothing yet before it touches one that says something."""
    worth = {"a": alone(np.full(16, 1.0)), "b": alone(np.full(16, 1e-9))}
    price = linear(1.0, 0.125)
    assert best_widths(GROUPS, totals(worth, prior), price, 12.5, full_range(GROUPS)) == expected


@pytest.mark.parametrize("seed", range(4))
def test_best_widths_come_near_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    groups = (A, B, C)
    worth = {group.name: alone(rng.exponential(1.0, group.size)) for group in groups}
    rates = rng.exponential(1.0, 3)

    def price(candidates):  # products, as between neighbouring layers
        w = np.asarray([[c["a"], c["b"], c["c"]] for c in candidates], float)
        return rates[0] * w[:, 0] + rates[1] * w[:, 0] * w[:, 1] / 8 + rates[2] * w[:, 1] * w[:, 2] / 8

    full = float(price([{g.name: g.size for g in groups}])[0])
    every = [dict(zip("abc", w, strict=True)) for w in itertools.product(range(4, 17, 4), range(4, 17, 4), (4, 8, 12))]
    costs, known = price(every), totals(worth)
    values = np.asarray([sum(known[name][width] for name, width in widths.items()) for widths in every])
    for share in (0.3, 0.5, 0.8):
        found = best_widths(groups, known, price, share * full, full_range(groups))
        assert price([found])[0] <= share * full
        value = sum(known[name][width] for name, width in found.items())
        assert value >= 0.9 * values[costs <= share * full].max()


def test_a_round_reaches_half_the_widths_of_now():
    assert below(GROUPS, {"a": 12, "b": 4}) == Bounds({"a": 8, "b": 4}, {"a": 12, "b": 4})


def test_marginal_worth_by_hand():
    worth = {"a": alone(np.arange(16.0)), "b": alone(np.zeros(16))}
    found = marginal_worth(GROUPS, totals(worth), linear(2.0, 1.0), {"a": 8, "b": 16})
    # The four worthless of a's best eight are worth 8 + 9 + 10 + 11, the next four 7 + 6 + 5 + 4; a step costs 8 ms.
    assert found["a"] == {"width": 8, "size": 16, "lost": 38 / 8, "gained": 22 / 8}
    assert found["b"] == {"width": 16, "size": 16, "lost": 0.0, "gained": None}


def evidence(mean, cost, error=0.01):
    """Two batches around a mean whose standard error is `error`."""
    return Evidence(np.asarray([mean - error, mean + error]), cost)


@pytest.mark.parametrize(
    ("found", "price", "path"),
    [
        ({"mhsa": evidence(-0.10, 1.0)}, 0.05, "mhsa"),  # gains more than its milliseconds are worth
        ({"mhsa": evidence(-0.10, 1.0)}, 0.20, "lir"),  # gains less
        ({"mhsa": evidence(-0.10, 1.0, error=0.06)}, 0.0, "lir"),  # two standard errors are 0.12: noise
        ({"skip": evidence(0.01, -1.0, 0.001)}, 0.05, "skip"),  # what it saves is worth more than it loses
        ({"skip": evidence(0.01, -1.0, 0.001), "mhsa": evidence(-0.1, 1.0)}, 0.05, "mhsa"),  # −0.04 and −0.05
    ],
)
def test_paths_need_evidence(found, price, path):
    everything = {("block", name): value for name, value in found.items()}
    assert choose_paths({"block": "lir"}, everything, price) == {"block": path}


def test_price_of_narrowing_by_hand():
    assert price_of_narrowing(1.0, 1.3, 10.0, 4.0) == pytest.approx(0.05)
    assert price_of_narrowing(1.0, 0.9, 10.0, 4.0) == 0.0


SPEC = RTSeg(4, width=0.1, segment_blocks=(0, 1, 1), expansion=1, mlp_ratio=1, head_width=8, dropout=0.0)
NETWORK = declare(SPEC)


def channels(kept, paths):
    """Made-up milliseconds: one per channel of what is taken."""
    total = jnp.zeros(())
    for choice, block in NETWORK.walk():
        weight = 1.0 if choice is None else paths[choice[0]][("skip", "lir", "mhsa").index(choice[1])]
        for group in {group for op in block.ops for group in op.output.groups if group.searched}:
            total += weight * kept.get(group.name, group.size)
    return total


def rounds(target, number=4):
    return Rounds(NETWORK, channels, Target(target), number, prior=0.0)


def test_targets_fall_evenly_in_their_logarithm():
    plan = rounds(target=rounds(1.0).start / 16)
    np.testing.assert_allclose([plan.target_of(n) / plan.start for n in (1, 2, 3, 4)], [1 / 2, 1 / 4, 1 / 8, 1 / 16])


def random_samples(seed, count=4):
    rng = np.random.default_rng(seed)
    arch = initial_worth(NETWORK, count)
    return arch._replace(
        samples={n: jnp.asarray(rng.normal(size=v.shape), jnp.float32) for n, v in arch.samples.items()}
    )


def test_rounds_end_at_their_target_with_the_worthiest_channels():
    arch, plan, paths = (
        random_samples(0),
        rounds(target=rounds(1.0).start / 3),
        {"stage16_1": "lir", "stage32_1": "skip"},
    )
    for number in (1, 2, 3, 4):
        rankings = plan.rankings(arch)
        arch = plan.decided(arch, rankings, paths, plan.widths(arch, rankings, paths, number))
    decision = plan.decision(SPEC, arch)
    assert decision.spec.paths == paths == decided_paths(NETWORK, arch)
    assert 0.98 * plan.target.cost <= decision.cost <= plan.target.cost
    assert not decision.warnings
    for name, kept in decision.kept.items():
        np.testing.assert_array_equal(kept, rankings[name].kept(len(kept)))


def test_sampled_paths_follow_their_probabilities():
    arch = initial_worth(NETWORK, 1)
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = jax.vmap(lambda key: sample_worth(arch, key).paths["stage16_1"])(keys)
    np.testing.assert_allclose(drawn.mean(0), [0.15, 0.7, 0.15], atol=0.04)
    certain = arch._replace(paths={name: jnp.asarray([0.0, 0.0, 1.0]) for name in arch.paths})
    np.testing.assert_array_equal(sample_worth(certain, keys[0]).paths["stage16_1"], [0.0, 0.0, 1.0])


def test_prices_of_many_are_the_prices_of_each():
    paths = {mixed.name: "lir" for mixed in NETWORK.mixed_blocks}
    groups = rounds(1.0).groups(paths)
    price = Prices(groups, channels, {name: jnp.asarray([0.0, 1.0, 0.0]) for name in paths})
    rng = np.random.default_rng(0)
    many = [{g.name: int(rng.integers(1, g.size + 1)) for g in groups} for _ in range(300)]
    expected = [float(channels(widths, {name: [0.0, 1.0, 0.0] for name in paths})) for widths in many]
    np.testing.assert_allclose(price(many), expected, rtol=1e-6)
