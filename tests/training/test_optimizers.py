"""Schedules and updates, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.config import base_config
from rtseg_jax.search.arch_params import ArchParams
from rtseg_jax.training.optimizers import (
    Rates,
    accumulated,
    architecture_optimizer,
    is_kernel,
    poly_schedule,
    weight_optimizer,
)
from rtseg_jax.training.specs import SearchSpec, TrainSpec


def train_spec(**changes):
    values = {
        "pretrain_steps": 10,
        "search_steps": 20,
        "finetune_steps": 30,
        "restarts": True,
        "learning_rate": 0.1,
        "search_learning_rate": 0.2,
        "finetune_learning_rate": 0.3,
        "power": 0.9,
        "momentum": 0.0,
        "weight_decay": 0.0,
    }
    return TrainSpec(seed=0, batch_size=2, **{**base_config().train, **values, **changes})


def run(optimizer, params, gradients):
    """Parameters after every step."""
    state, history = optimizer.init(params), []
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        history.append(params)
    return history


def test_poly_schedule_by_hand():
    schedule = poly_schedule(0.1, 10, 0.9)
    for step in range(11):
        assert float(schedule(step)) == pytest.approx(0.1 * (1 - step / 10) ** 0.9, abs=1e-7)
    assert float(schedule(12)) == 0.0


def test_warm_up_by_hand():
    schedule = poly_schedule(0.1, 10, 2.0, warmup_steps=4)
    expected = [0.0, 0.025, 0.05, 0.075, *(0.1 * (1 - n / 6) ** 2 for n in range(7))]
    np.testing.assert_allclose([float(schedule(step)) for step in range(11)], expected, atol=1e-7)


def test_phases_have_their_own_length_and_rate():
    spec = train_spec()
    assert [spec.steps(phase) for phase in ("pretrain", "search", "finetune", "uniform")] == [10, 20, 30, 60]
    assert [spec.rate(phase) for phase in ("pretrain", "search", "finetune", "uniform")] == [0.1, 0.2, 0.3, 0.1]
    assert train_spec(uniform_steps=5).steps("uniform") == 5
    gradient = {"kernel": jnp.ones(1)}
    for phase in ("pretrain", "search", "finetune"):
        first, second = run(weight_optimizer(spec, phase), {"kernel": jnp.zeros(1)}, [gradient] * 2)
        rate, length = spec.rate(phase), spec.steps(phase)
        np.testing.assert_allclose(first["kernel"], -rate, rtol=1e-6)
        np.testing.assert_allclose(second["kernel"] - first["kernel"], -rate * (1 - 1 / length) ** 0.9, rtol=1e-5)


def test_warm_up_counts_steps_where_updates_are_averages_of_some():
    spec = train_spec(accumulate=2, warmup_steps=4)  # two updates
    gradient = {"kernel": jnp.ones(1)}
    history = run(weight_optimizer(spec, "pretrain", False), {"kernel": jnp.zeros(1)}, [gradient] * 6)
    moved = [float(params["kernel"][0]) for params in history]
    np.testing.assert_allclose(moved, [0.0, 0.0, 0.0, -0.05, -0.05, -0.15], rtol=1e-6)


PARAMS = {
    "block": {
        "conv": {"kernel": jnp.full(2, 2.0), "bias": jnp.full(2, 2.0)},
        "norm": {"scale": jnp.full(2, 2.0), "bias": jnp.full(2, 2.0)},
    }
}


def test_only_kernels_decay():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    optimizer = weight_optimizer(train_spec(weight_decay=0.01), "pretrain")
    (after,) = run(optimizer, PARAMS, [zeros])
    np.testing.assert_allclose(after["block"]["conv"]["kernel"], 2.0 - 0.1 * 0.01 * 2.0, rtol=1e-6)
    for layer, name in (("conv", "bias"), ("norm", "scale"), ("norm", "bias")):
        np.testing.assert_array_equal(after["block"][layer][name], 2.0)
    assert is_kernel(PARAMS) == {
        "block": {"conv": {"kernel": True, "bias": False}, "norm": {"scale": False, "bias": False}}
    }


def test_momentum_by_hand():
    spec = train_spec(momentum=0.5, power=0.0)  # a constant rate of 0.1
    history = run(weight_optimizer(spec, "pretrain"), {"kernel": jnp.zeros(1)}, [{"kernel": jnp.ones(1)}] * 3)
    np.testing.assert_allclose([float(params["kernel"][0]) for params in history], [-0.1, -0.25, -0.425], rtol=1e-6)


def test_clipping_by_hand():
    spec = train_spec(clip_norm=1.0, power=0.0)
    gradient = {"kernel": jnp.array([3.0, 4.0])}  # of norm 5
    (after,) = run(weight_optimizer(spec, "pretrain"), {"kernel": jnp.zeros(2)}, [gradient])
    np.testing.assert_allclose(after["kernel"], [-0.06, -0.08], rtol=1e-6)


def test_accumulation_averages():
    """Two gradients, one update, by their mean; the schedule counts updates."""
    spec = train_spec(accumulate=2, power=1.0, weight_decay=0.5)
    gradients = [{"kernel": jnp.full(1, value)} for value in (1.0, 3.0, 5.0, 7.0)]
    history = run(weight_optimizer(spec, "pretrain"), {"kernel": jnp.ones(1)}, gradients)
    values = [float(params["kernel"][0]) for params in history]
    first = 1.0 - 0.1 * (2.0 + 0.5 * 1.0)
    second = first - 0.1 * (1 - 1 / 5) * (6.0 + 0.5 * first)  # the second of five updates
    np.testing.assert_allclose(values, [1.0, first, first, second], rtol=1e-6)


def test_accumulating_one_is_no_wrapper():
    optimizer = weight_optimizer(train_spec(), "pretrain")
    assert accumulated(optimizer, 1) is optimizer


@pytest.mark.parametrize("accumulate", [1, 2])
def test_architecture_takes_shrinking_steps_and_freezes_its_paths(accumulate):
    spec = SearchSpec(**{**base_config().search, "rule": "published"})
    optimizer = architecture_optimizer(spec, Rates(0.01, 0.1), 10 * accumulate, accumulate)
    params = ArchParams({"a": jnp.ones(2)}, {"m": jnp.zeros(3)})
    gradient = ArchParams({"a": jnp.array([1.0, -2.0])}, {"m": jnp.array([1.0, 0.0, -1.0])})
    history = run(optimizer, params, [gradient] * 10 * accumulate)[accumulate - 1 :: accumulate]
    for number, after in enumerate(history, start=1):
        travelled = sum(1 - update / 10 for update in range(number))  # in steps of the first one's size
        np.testing.assert_allclose(after.widths["a"], [1 - 0.01 * travelled, 1 + 0.02 * travelled], rtol=1e-5)
        moved = min(number, 7)  # ten updates, of which the last 30 % leave the paths alone
        np.testing.assert_allclose(after.paths["m"], [-0.1 * moved, 0.0, 0.1 * moved], rtol=1e-5, atol=1e-7)


def test_architecture_gradients_beyond_the_limit_count_by_their_sign():
    spec = SearchSpec(**{**base_config().search, "rule": "published"})
    optimizer = architecture_optimizer(spec, Rates(0.01, 0.1, limit=2.0), 10, 1)
    params = ArchParams({"a": jnp.zeros(3)}, {"m": jnp.zeros(2)})
    gradient = ArchParams({"a": jnp.array([1.0, -500.0, 3.0])}, {"m": jnp.array([2.5, -1.0])})
    (after,) = run(optimizer, params, [gradient])
    np.testing.assert_allclose(after.widths["a"], [-0.01, 0.02, -0.02], rtol=1e-6)
    np.testing.assert_allclose(after.paths["m"], [-0.2, 0.1], rtol=1e-6)
