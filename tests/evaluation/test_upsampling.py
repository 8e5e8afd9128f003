"""Labels from logits: against JAX, against exact weights, and by hand."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from rtseg_jax.evaluation import upsampling
from rtseg_jax.evaluation.upsampling import enlarged, label_map, labels_from, taps


def whole(logits, size):
    """All tiles, as [h w k]."""
    return np.moveaxis(np.concatenate([planes for _, planes in enlarged(logits, size)], axis=1), 0, -1)


def exact(logits, size):
    """Bilinear by its definition, in float64: a triangle of width 1 around each centre."""
    result = logits.astype(np.float64)
    for axis, after in enumerate(size):
        before = logits.shape[axis]
        centre = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
        weights = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(before)))
        result = np.moveaxis(np.tensordot(weights, result, (1, axis)), 0, axis)
    return result


@pytest.mark.parametrize("size", [(16, 24), (37, 53), (5, 7), (16, 25), (9, 24), (1, 1), (64, 96)])
def test_larger_and_smaller_sizes_are_what_jax_gives_without_antialias(size):
    logits = np.random.default_rng(0).standard_normal((16, 24, 5)).astype(np.float32)
    expected = jax.image.resize(jnp.asarray(logits), (*size, 5), "bilinear", antialias=False)
    np.testing.assert_allclose(whole(logits, size), expected, atol=1e-5)
    np.testing.assert_array_equal(label_map(logits, size), np.argmax(whole(logits, size), axis=-1))


def test_weights_are_exact_at_large_sizes():
    logits = np.random.default_rng(0).standard_normal((513, 385, 2)).astype(np.float32)
    np.testing.assert_allclose(whole(logits, (500, 731)), exact(logits, (500, 731)), atol=2e-6)


def test_the_low_pass_filter_would_be_seen():
    # One sure pixel in a row of four, halved: two pixels, each the mean of two neighbours and of nothing else.
    logits = np.array([[[0.0], [0.0], [0.0], [8.0]]], np.float32)
    np.testing.assert_array_equal(whole(logits, (1, 2))[0, :, 0], [0, 4])


def test_logits_are_interpolated_before_deciding():
    # Two pixels, classes 0 and 1, the second three times as sure: of four pixels between them
    # (weights 1, ¾, ¼, 0 of the first) the second is a tie (¾ · 1 = ¼ · 3), which goes to class 0.
    logits = np.array([[[1.0, 0.0], [0.0, 3.0]]], np.float32)
    np.testing.assert_array_equal(label_map(logits, (1, 4)), [[0, 0, 1, 1]])
    logits[0, 1, 1] = 3.1
    np.testing.assert_array_equal(label_map(logits, (1, 4)), [[0, 1, 1, 1]])


@pytest.mark.parametrize("size", [(31, 17), (7, 9), (7, 17), (3, 9)])
@pytest.mark.parametrize("tile", [1, 60, 70])
def test_tiles_do_not_show(monkeypatch, tile, size):
    logits = np.random.default_rng(1).standard_normal((7, 9, 4)).astype(np.float32)
    expected = whole(logits, size)
    monkeypatch.setattr(upsampling, "TILE", tile)
    assert len(list(enlarged(logits, size))) > 1
    np.testing.assert_array_equal(whole(logits, size), expected)


def test_half_precision_becomes_float32_first():
    logits = np.array([[[1.0], [1.0078125]]]).astype(ml_dtypes.bfloat16)  # neighbours in bfloat16
    assert whole(logits, (1, 4))[0, 1, 0] == np.float32(1 + 0.25 * 0.0078125)


def test_taps_by_hand():
    low, high, weight = taps(2, 4)
    np.testing.assert_array_equal(low, [0, 0, 0, 1])
    np.testing.assert_array_equal(high, [0, 1, 1, 1])
    np.testing.assert_array_equal(weight, [0, 0.25, 0.75, 0])


def test_class_maps_are_enlarged_by_repetition_and_logits_before_the_choice():
    np.testing.assert_array_equal(labels_from(np.float32([[[0], [3]]]), (2, 4)), [[0, 0, 3, 3], [0, 0, 3, 3]])
    logits = np.float32([[[0, 2], [6, 0]]])  # the second class wins left, the first right
    # At a quarter and three quarters the logits are (1.5, 1.5) and (4.5, 0.5): ties go to the first.
    np.testing.assert_array_equal(labels_from(logits, (1, 4)), [[1, 0, 0, 0]])
