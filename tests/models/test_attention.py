"""Attention by hand; whole networks are checked against an implementation of their own elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np

from rtseg_jax.models.attention import attention


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def test_a_single_pixel_attends_to_itself():
    query, key, value = normal(0, 2, 1, 1, 8), normal(1, 2, 1, 1, 8), normal(2, 2, 1, 1, 6)
    np.testing.assert_array_equal(attention(query, key, value, 2), value)
    assert "div" not in str(jax.make_jaxpr(lambda *maps: attention(*maps, 2))(query, key, value))


def test_two_keys_by_hand():
    query, key = jnp.zeros((1, 1, 1, 1)), normal(0, 1, 1, 2, 1)
    value = jnp.asarray([1.0, 3.0]).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(attention(query, key, value, 1), np.full((1, 1, 1, 1), 2.0))
