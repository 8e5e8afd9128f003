"""The mended published search, simulated: made-up milliseconds, a made-up task, everything else as it runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rtseg_jax.architecture import Group, Network
from rtseg_jax.config import base_config
from rtseg_jax.search.arch_params import ArchParams, path_probabilities
from rtseg_jax.search.cost import Target
from rtseg_jax.training.beta_control import BetaControl
from rtseg_jax.training.losses import LossSpec
from rtseg_jax.training.optimizers import architecture_optimizer
from rtseg_jax.training.published_search import LiteralSearch, PublishedSearch, per_cost
from rtseg_jax.training.search_phase import automatic_rates
from rtseg_jax.training.specs import SearchSpec
from rtseg_jax.training.state import TrainState

STEPS, BETA = 200, 0.5
SLOPES = {"steep": 0.09, "left": 0.02, "right": 0.02, "flat": 5e-5}  # ms per channel at full width: 1,800-fold
GROUPS = tuple(Group(name, 64) for name in SLOPES)
FULL = {name: jnp.float32(64) for name in SLOPES}
COSTS = jnp.array([0.0, 0.3, 0.6])  # of the paths, ms
EVEN = jnp.full(3, 1 / 3)


class Groups(Network):
    """All that the search asks of a network; there is nothing to run."""

    searched_groups = GROUPS


NETWORK = object.__new__(Groups)


def latency(kept, paths):
    """Milliseconds; `left` and `right` are the two sides of a convolution."""
    widths = SLOPES["steep"] * kept["steep"] + SLOPES["flat"] * kept["flat"]
    return widths + SLOPES["left"] / 64 * kept["left"] * kept["right"] + jnp.sum(paths["block"] * COSTS)


START_MS = float(latency(FULL, {"block": EVEN}))


def spec(*, literal):
    return SearchSpec(**{**base_config().search, "rule": "published", "literal": literal})


def arch_at(first, last):
    return ArchParams({name: jnp.linspace(first, last, 64) for name in SLOPES}, {"block": jnp.zeros(3)})


@functools.cache
def simulated(literal, fraction):
    """(indicators at the start, worth of a channel by group, worth of the paths) ↦ what every step had."""
    settings = spec(literal=literal)
    rates = automatic_rates(settings, BETA, float(STEPS), latency, FULL, {"block": EVEN})
    optimizer = architecture_optimizer(settings, rates, STEPS, 1)

    @jax.jit
    def run(arch, worth, path_worth):
        common = settings, STEPS, latency, Target(fraction * START_MS), optimizer
        if literal:
            rule, control = LiteralSearch(*common), None
        else:
            rule = PublishedSearch(*common, loss=LossSpec(beta=BETA), start_cost=START_MS)
            control = BetaControl.start()

        def step(state, _):
            def loss(arch):
                drawn = rule.sample(NETWORK, state, arch, jax.random.fold_in(jax.random.key(0), state.step))
                task = -sum(jnp.sum(worth[name] * mask) for name, mask in drawn.architecture.masks.items())
                task -= jnp.sum(path_worth * drawn.architecture.paths["block"])
                return task + BETA * rule.loss_factor(state) * drawn.losses["cost"], drawn.metrics

            gradients, metrics = jax.grad(loss, has_aux=True)(state.arch)
            state, metrics = rule.learn(state.replace(step=state.step + 1), gradients, metrics)
            return state, (metrics, state.arch)

        state = TrainState(jnp.int32(0), None, None, None, arch, optimizer.init(arch), control)
        return jax.lax.scan(step, state, None, length=STEPS)[1]

    return run


def search(fraction, worth=0.0, paths=(0.0, 0.0, 0.0), arch=None, literal=False):
    """Worth is loss per millisecond, of all groups or by group: its mean; channels have 0.5 to 1.5 of it, by rank."""
    by_group = worth if isinstance(worth, dict) else dict.fromkeys(SLOPES, worth)
    per_channel = {name: by_group[name] * SLOPES[name] * jnp.linspace(0.5, 1.5, 64) for name in SLOPES}
    arch = arch_at(0.75, 1.25) if arch is None else arch
    return simulated(literal, fraction)(arch, per_channel, jnp.asarray(paths))


def shares(metrics):
    return {name: float(metrics["kept"][name][-1]) / 64 for name in SLOPES}


def test_every_group_can_cross_its_threshold():
    """Without a task all groups end alike, as in uniform scaling; to the letter the flat one does not move."""
    metrics, arch = search(0.5)
    assert np.ptp(list(shares(metrics).values())) < 0.1
    assert metrics["cost"][-1] <= 0.5 * START_MS * 1.01
    for values in arch.widths.values():
        assert values.min() >= 0.0
        assert values.max() <= 1.25
    literal, _ = search(0.5, literal=True)
    assert shares(literal)["flat"] == 1.0
    assert shares(literal)["steep"] < 0.6


@pytest.mark.parametrize("worth", [0.2, 0.5, 4.0])
@pytest.mark.parametrize("start", [(0.75, 1.25), (0.1, 0.6)], ids=["above", "below"])
def test_latency_lands_from_both_sides(worth, start):
    """Whatever a millisecond is worth to the task, from two fifths of β to eight times β."""
    metrics, _ = search(0.5, worth, arch=arch_at(*start))
    ratio = np.asarray(metrics["cost"]) / (0.5 * START_MS)
    assert (ratio[0] > 1.9) if start[0] > 0.5 else (ratio[0] < 0.6)
    assert abs(ratio[-20:].mean() - 1) < 0.05


def test_the_price_settles_at_what_a_millisecond_is_worth():
    metrics, _ = search(0.5, worth=0.5)
    assert metrics["beta"][0] == 0
    assert float(metrics["beta"][-60:].mean()) == pytest.approx(0.5, rel=0.3)
    assert metrics["beta"].max() > 0.6  # it was higher, and fell when the target held


def test_below_its_target_latency_moves_nothing():
    """|gap| would make channels that nobody asked for."""
    start = arch_at(0.1, 0.6)
    metrics, arch = search(0.5, arch=start)
    assert not metrics["beta"].any()
    for name, values in arch.widths.items():
        np.testing.assert_array_equal(values[-1], start.widths[name])
    literal, _ = search(0.5, arch=start, literal=True)
    assert literal["cost"][-1] > 1.8 * literal["cost"][0]


@pytest.mark.parametrize("loved", ["steep", "flat"])
def test_channels_stay_where_a_millisecond_is_worth_most(loved):
    """Whatever the slopes: what the task says of `flat` is 1,800 times fainter than of `steep`."""
    fraction = 0.5 if loved == "flat" else 0.85
    metrics, _ = search(fraction, {**dict.fromkeys(SLOPES, 0.0), loved: 3.0})
    kept = shares(metrics)
    assert kept[loved] == 1.0
    assert all(share < 0.6 for name, share in kept.items() if name != loved)


def test_paths_follow_the_task_where_it_is_clear_and_the_price_where_it_is_not():
    """The costliest path, at 0.6 ms, is worth 3 of loss per millisecond or next to nothing; the price is near 0.5."""
    clear, _ = search(0.5, 0.5, paths=(0.0, 0.0, 1.8))
    unclear, _ = search(0.5, 0.5, paths=(0.0, 0.0, 0.01))
    frozen = int(0.7 * STEPS) - 1
    assert clear["paths"]["block"][frozen][2] > 0.9
    assert unclear["paths"]["block"][frozen][0] > 0.6
    np.testing.assert_array_equal(clear["paths"]["block"][-1], [0, 0, 1])
    np.testing.assert_array_equal(unclear["paths"]["block"][-1], [1, 0, 0])


def test_the_price_by_hand():
    """Over 100 steps: 0.1 a step at gaps of 10 % and more, less at less, and never below 0."""
    control, logs = BetaControl.start(), []
    assert float(control.factor) == 0
    for gap in (3.0, 0.05, 0.0, -0.02, -0.5, -0.5, 0.2):
        control = control.after(jnp.float32(gap), 100)
        logs.append(float(control.log_price))
    np.testing.assert_allclose(logs, [0.1, 0.15, 0.15, 0.13, 0.03, 0.0, 0.1], atol=1e-6)
    assert float(control.factor) == pytest.approx(np.expm1(1.1), rel=1e-5)
    assert float(BetaControl(jnp.float32(0.5), jnp.float32(-0.3)).factor) == 0  # exp(−0.5) − 1 would be a reward
    assert float(BetaControl(jnp.float32(6.99), jnp.float32(0)).after(jnp.float32(1.0), 100).log_price) == 7.0


def test_the_target_falls_by_equal_factors():
    rule = PublishedSearch(
        spec(literal=False), 100, latency, Target(2.0), optax.identity(), loss=LossSpec(), start_cost=8.0
    )
    np.testing.assert_allclose([rule.target_at(jnp.int32(s)) for s in (0, 25, 50, 99)], [8.0, 4.0, 2.0, 2.0], rtol=1e-6)
    above = PublishedSearch(
        spec(literal=False), 100, latency, Target(9.0), optax.identity(), loss=LossSpec(), start_cost=8.0
    )
    assert float(above.target_at(jnp.int32(0))) == 9.0


def test_gradients_per_cost_by_hand():
    gradients = ArchParams({"a": jnp.array([1.0, -3.0]), "b": jnp.array([5.0])}, {"m": jnp.array([2.0, 0.0, -2.0])})
    slopes = {"a": jnp.float32(0.5), "b": jnp.float32(0.0)}
    moved = per_cost(gradients, slopes, {"m": jnp.array([0.0, 1.0, 4.0])})
    np.testing.assert_allclose(moved.widths["a"], [2.0, -6.0])
    np.testing.assert_array_equal(moved.widths["b"], [0.0])  # costs nothing: its path cannot be taken any more
    np.testing.assert_allclose(moved.paths["m"], [0.5, 0.0, -0.5])


def test_automatic_rates_by_hand():
    """A fifth of 200 updates at β = 0.5 is 20: 0.5 / 20, and 3 / 20 for three even paths; to the letter over slopes."""
    paths = path_probabilities(arch_at(0.75, 1.25))
    rates = automatic_rates(spec(literal=False), 0.5, 200.0, latency, FULL, paths)
    assert rates == pytest.approx((0.025, 0.15, 2.0))
    slopes = np.asarray(list(SLOPES.values()))
    typical = np.square(slopes).sum() / slopes.sum()
    literal = automatic_rates(spec(literal=True), 0.5, 200.0, latency, FULL, paths)
    assert literal == pytest.approx((0.025 / typical, 0.15 / 0.6, np.inf), rel=1e-5)
