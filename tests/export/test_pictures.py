"""Both forms of normalization inside of files, by hand and against the one of training."""

import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.export.pictures import by_convolution, by_rows
from rtseg_jax.models.normalization import IMAGE_MEAN, IMAGE_STD, normalize


@pytest.mark.parametrize("form", [by_convolution, by_rows])
def test_pictures_by_hand(form):
    # Two pictures of 1×2: the means, a deviation above, two below, half a deviation above in blue.
    mean, std = (0.2, 0.4, 0.6), (0.1, 0.2, 0.5)
    images = jnp.asarray([[[[51, 102, 153], [76.5, 153, 280.5]]], [[[0, 0, -102], [51, 102, 216.75]]]])
    expected = np.asarray([[[[0, 0, 0], [1, 1, 1]]], [[[-2, -2, -2], [0, 0, 0.5]]]])
    np.testing.assert_allclose(form(images, (mean, std)), expected, atol=2e-6)


@pytest.mark.parametrize("form", [by_convolution, by_rows])
def test_pictures_as_in_training(form):
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype(np.uint8))
    found = form(images.astype(jnp.float32), (IMAGE_MEAN, IMAGE_STD))
    np.testing.assert_allclose(found, normalize(images), atol=2e-6)
