"""Pooling: hand values, and the lowerings against each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.models.pooling import average_pool, channel_max, max_pool

STRIDED = {"window": (3, 3), "stride": (2, 2), "padding": "SAME"}
max_pool_3x3_s2 = functools.partial(max_pool, **STRIDED)
avg_pool_3x3_s2 = functools.partial(average_pool, **STRIDED)


def normal(*shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("lowering", ["native", "cpu", "export"])
def test_by_hand(lowering):
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    # An even size at stride 2 is padded behind only: the first window starts at the first pixel.
    np.testing.assert_array_equal(max_pool_3x3_s2(x, lowering=lowering)[0, :, :, 0], [[10, 11], [14, 15]])
    mean = avg_pool_3x3_s2(x, lowering=lowering)[0, :, :, 0] * 9
    np.testing.assert_allclose(mean, [[45, 39], [66, 50]], rtol=1e-6)


@pytest.mark.parametrize("size", [(16, 24), (7, 9), (1, 1), (2, 3)])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("pool", [max_pool_3x3_s2, avg_pool_3x3_s2])
def test_lowerings_agree(pool, size, ties):
    x = normal(2, *size, 5)
    x = jnp.maximum(x, 0) if ties else x

    def run(x, lowering):
        y, pullback = jax.vjp(lambda x: pool(x, lowering=lowering), x)
        return y, pullback(jnp.cos(jnp.arange(y.size, dtype=y.dtype).reshape(y.shape)))[0]

    for actual, expected in zip(run(x, "cpu"), run(x, "native"), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lowering", ["native", "cpu"])
@pytest.mark.parametrize("pool", [max_pool_3x3_s2, avg_pool_3x3_s2])
def test_bfloat16_is_kept(pool, lowering):
    x = normal(1, 6, 6, 3).astype(jnp.bfloat16)
    y, pullback = jax.vjp(lambda x: pool(x, lowering=lowering), x)
    assert y.dtype == pullback(y)[0].dtype == jnp.bfloat16


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (2, 3)])
@pytest.mark.parametrize(
    ("window", "stride", "padding"), [((3, 3), (2, 2), ((1, 1), (1, 1))), ((4, 2), (3, 1), ((2, 1), (1, 0)))]
)
def test_borders_in_exported_graphs(size, window, stride, padding):
    """A border is made of repeated edges there: the same maxima, of negative numbers too, and no −∞."""
    x = normal(2, *size, 3) - 5.0
    settings = {"window": window, "stride": stride, "padding": padding}
    exported = jax.jit(functools.partial(max_pool, **settings, lowering="export"))
    np.testing.assert_array_equal(exported(x), max_pool(x, **settings, lowering="native"))
    text = exported.lower(x).as_text()
    same = size == (7, 5) and window == (3, 3)  # where `SAME` puts as much
    assert ("stablehlo.concatenate" in text) != same


def test_the_first_of_the_largest_channels_receives_the_gradient():
    x = jnp.asarray([[1.0, 3.0, 2.0], [4.0, 4.0, 0.0], [-1.0, -2.0, -1.0]]).reshape(1, 3, 1, 3)
    y, pullback = jax.vjp(channel_max, x)
    np.testing.assert_array_equal(y[0, :, 0, 0], [3, 4, -1])
    (gradient,) = pullback(jnp.asarray([5.0, 6.0, 7.0]).reshape(1, 3, 1, 1))
    np.testing.assert_array_equal(gradient[0, :, 0], [[0, 5, 0], [6, 0, 0], [7, 0, 0]])
