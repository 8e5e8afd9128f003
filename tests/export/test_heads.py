import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.architecture import declare
from rtseg_jax.export.heads import before_upsampling, class_map, network_function
from rtseg_jax.models import SegmentationNetwork, initial_variables
from rtseg_jax.zoo import RTSeg

SPEC = RTSeg(num_classes=5, width=0.25, segment_blocks=(1, 1, 1))
NETWORK = declare(SPEC)


def test_a_class_map_is_the_argmax_also_of_neighbouring_floats():
    logits = np.random.default_rng(0).standard_normal((2, 7, 9, 19)).astype(np.float32)
    logits[0, 0, 0, :] = 3.0
    logits[0, 0, 0, 11] = np.nextafter(np.float32(3.0), np.float32(4.0))
    logits[0, 0, 1, :] = -1e-30
    logits[0, 0, 1, 4] = -0.9e-30
    found = np.asarray(class_map(jnp.asarray(logits)))
    assert found.shape == (2, 7, 9, 1)
    np.testing.assert_array_equal(found[..., 0], logits.argmax(-1))
    assert found[0, 0, 0, 0] == 11
    assert found[0, 0, 1, 0] == 4


def test_of_equal_logits_the_first_is_taken():
    logits = jnp.asarray([2.0, 5.0, 5.0, 5.0])[None, None, None]
    assert class_map(logits).item() == 1.0


def test_a_map_of_150_classes_survives_half_precision():
    # Numbers up to 299 occur on the way; float16, in which phones compute, holds all integers up to 2048.
    logits = jnp.eye(150)[None]  # pixel i has its maximum at class i
    half = class_map(logits[:, None])[0, 0, :, 0].astype(jnp.float16)
    np.testing.assert_array_equal(half, np.arange(150))


@pytest.fixture(scope="module")
def variables():
    return jax.tree.map(jnp.asarray, initial_variables(SegmentationNetwork(NETWORK), 0))


def test_low_resolution_logits_are_those_that_the_network_enlarges(variables):
    pictures = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (1, 33, 64, 3)).astype(np.float32))
    low = jax.jit(network_function(NETWORK, variables, head="lowres_logits", lowering="native"))(pictures)
    full = jax.jit(network_function(NETWORK, variables, lowering="native"))(pictures)
    assert low.shape == (1, 5, 8, 5)
    enlarged = jax.image.resize(low, full.shape, "bilinear", antialias=False)
    np.testing.assert_allclose(enlarged, full, atol=1e-5)


def test_normalization_is_part_of_the_function(variables):
    pictures = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    mean, std = (0.3, 0.4, 0.5), (0.2, 0.25, 0.5)
    normalized = (pictures / 255 - np.float32(mean)) / np.float32(std)
    inside = jax.jit(network_function(NETWORK, variables, (mean, std), lowering="native"))(pictures)
    outside = jax.jit(network_function(NETWORK, variables, lowering="native"))(normalized.astype(np.float32))
    np.testing.assert_allclose(inside, outside, atol=1e-4)


def test_only_the_upsampling_is_cut_off():
    cut = before_upsampling(NETWORK)
    assert cut.blocks[:-1] == NETWORK.blocks[:-1]
    assert cut.blocks[-1].ops == NETWORK.blocks[-1].ops[:-1]
    with pytest.raises(ValueError, match="does not end with an upsampling"):
        before_upsampling(cut)
