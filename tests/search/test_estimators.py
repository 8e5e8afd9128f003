"""The two gradient estimators, by hand and against automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.search import estimators
from rtseg_jax.search.estimators import binarize, ranks, sample_path, scale_gradient


def array(*values):
    return jnp.asarray(values, jnp.float32)


def test_both_are_custom_vjp():
    assert isinstance(estimators.binarize, jax.custom_vjp)
    assert isinstance(estimators.sample_path, jax.custom_vjp)


def test_ranks():
    np.testing.assert_array_equal(ranks(array(0.1, 0.9, 0.5, 0.9)), [3, 0, 2, 1])


@pytest.mark.parametrize(
    ("indicators", "floor", "multiple", "kept"),
    [
        # the published rule: exactly what exceeds one half, which itself does not
        ((0.2, 0.6, 0.5, 0.51), 0, 1, (0, 1, 0, 1)),
        ((0.1, 0.2, 0.3), 0, 1, (0, 0, 0)),
        # one exceeds, the number is rounded up to four: the next largest come along
        ((0.9, 0.1, 0.4, 0.3, 0.2, -1.0), 4, 4, (1, 0, 1, 1, 1, 0)),
        # five exceed: eight
        ((1, 1, 1, 1, 1, 0.4, 0.1, 0.3, 0.2, 0.0), 4, 4, (1, 1, 1, 1, 1, 1, 0, 1, 1, 0)),
        # five of six: there are no eight
        ((1, 1, 1, 1, 1, 0), 4, 4, (1, 1, 1, 1, 1, 1)),
        # none exceeds: the floor
        ((0.1, 0.2, 0.3, 0.4, 0.45, 0.0), 4, 4, (0, 1, 1, 1, 1, 0)),
        # heads: at least one, no rounding
        ((0.1, 0.3, 0.2), 1, 1, (0, 1, 0)),
        # ties: the first of equals
        ((0.2, 0.2, 0.2, 0.2, 0.2, 0.2), 4, 4, (1, 1, 1, 1, 0, 0)),
    ],
)
def test_binarize_by_hand(indicators, floor, multiple, kept):
    mask, pullback = jax.vjp(lambda c: binarize(c, floor, multiple), array(*indicators))
    np.testing.assert_array_equal(mask, kept)
    assert mask.dtype == jnp.float32
    cotangent = jnp.arange(1.0, len(kept) + 1)
    np.testing.assert_array_equal(pullback(cotangent)[0], cotangent)  # straight through, masked channels too


def test_binarize_keeps_what_snap_counts():
    from rtseg_jax.architecture import Group

    rng = np.random.default_rng(0)
    for group in (Group("a", 16), Group("b", 10), Group("c", 3), Group("d", 5, 8), Group("e", 8, 2)):
        for _ in range(20):
            indicators = rng.uniform(-0.5, 1.5, group.size).astype(np.float32)
            mask = binarize(jnp.asarray(indicators), group.floor, group.multiple)
            assert int(mask.sum()) == group.snap(int((indicators > 0.5).sum()))
            assert indicators[np.asarray(mask) == 1].min() >= indicators[np.asarray(mask) == 0].max(initial=-np.inf)


def test_sample_path_forward():
    logits = array(0.0, 1.0, 2.0)
    np.testing.assert_array_equal(sample_path(logits, jnp.zeros(3), array(1.0)[0]), [0, 0, 1])
    np.testing.assert_array_equal(sample_path(logits, array(3.0, 0, 0), array(1.0)[0]), [1, 0, 0])
    np.testing.assert_array_equal(sample_path(jnp.zeros(3), jnp.zeros(3), array(1.0)[0]), [1, 0, 0])  # a tie


@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
def test_sample_path_backward_by_hand(temperature):
    logits, noise, cotangent = np.array([0.3, -0.2, 0.5]), np.array([0.1, 0.4, -0.3]), np.array([1.0, -2.0, 0.5])
    _, pullback = jax.vjp(lambda z: sample_path(z, array(*noise), array(temperature)[0]), array(*logits))
    weights = np.exp((logits + noise) / temperature)
    p = weights / weights.sum()
    jacobian = (np.diag(p) - np.outer(p, p)) / temperature
    np.testing.assert_allclose(pullback(array(*cotangent))[0], jacobian @ cotangent, rtol=1e-5)


def test_sample_path_backward_is_that_of_the_soft_sample():
    logits, noise, weights = array(0.3, -0.2, 0.5), array(0.1, 0.4, -0.3), array(1.0, -2.0, 0.5)
    hard = jax.grad(lambda z: sample_path(z, noise, array(0.7)[0]) @ weights)(logits)
    soft = jax.grad(lambda z: jax.nn.softmax((z + noise) / 0.7) @ weights)(logits)
    np.testing.assert_allclose(hard, soft, rtol=1e-5)


def test_sample_path_gradient_at_the_limits_of_temperature():
    logits, weights = array(0.3, -0.2, 0.5), array(1.0, -2.0, 0.5)

    def gradient(temperature):
        return jax.grad(lambda z: sample_path(z, jnp.zeros(3), array(temperature)[0]) @ weights)(logits)

    # cold: the sample does not change with the logits; hot: every path weighs 1/3, divided by the temperature
    np.testing.assert_allclose(gradient(0.01), 0.0, atol=1e-5)
    hot = (np.asarray(weights) - np.mean(weights)) / 3
    np.testing.assert_allclose(gradient(1e3) * 1e3, hot, atol=1e-3)


def test_samples_have_the_softmax_frequencies():
    logits = array(0.0, 1.0, 0.5)
    noise = jax.random.gumbel(jax.random.key(0), (4000, 3))
    frequencies = jax.vmap(lambda n: sample_path(logits, n, array(1.0)[0]))(noise).mean(0)
    np.testing.assert_allclose(frequencies, jax.nn.softmax(logits), atol=0.03)


def test_a_scaled_gradient_by_hand():
    """At factor τ the estimator's 1/τ is made up for; values stay."""
    weights, factor = jnp.array([1.0, -2.0, 4.0]), jnp.float32(5.0)
    np.testing.assert_array_equal(scale_gradient(weights, factor), weights)
    gradient = jax.grad(lambda values: jnp.sum(jnp.square(scale_gradient(values, factor))))(weights)
    np.testing.assert_allclose(gradient, [10.0, -20.0, 40.0])
