"""Weights of what is measured: those that its module declares, of ordinary magnitude."""

import jax
import jax.numpy as jnp
import numpy as np

from rtseg_jax.architecture import declare
from rtseg_jax.export.tflite import block_input_shapes, block_module, random_variables
from rtseg_jax.models import SegmentationNetwork
from rtseg_jax.zoo import RTSeg

NETWORK = declare(RTSeg(3, width=0.5, segment_blocks=(1, 0, 1), head_width=8, auxiliary_channels=8))
SIZE = (64, 128)


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def test_a_network_has_those_of_inference():
    picture = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32)
    declared = jax.eval_shape(SegmentationNetwork(NETWORK).init, jax.random.key(0), picture)
    assert shapes(random_variables(NETWORK)) == shapes(declared)


def test_a_block_has_its_own():
    for block in NETWORK.plain_blocks:
        inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in block_input_shapes(block, SIZE)]
        module = block_module(block)
        declared = jax.eval_shape(lambda *x, m=module: m.init(jax.random.key(0), list(x), None, train=False), *inputs)
        found = {name: tree for name, tree in random_variables(block).items() if tree}
        assert shapes(found) == shapes(declared)


def test_kernels_keep_the_variance_and_statistics_are_positive():
    weights = [weight for block in NETWORK.plain_blocks for weight in block.weights.values()]
    assert {weight.role for weight in weights} == {"kernel", "bias", "scale", "shift", "mean", "variance"}
    leaves = jax.tree_util.tree_leaves_with_path(random_variables(NETWORK))
    assert len(leaves) == len(weights)
    for path, leaf in leaves:
        if path[-1].key == "kernel" and leaf.size > 5000:
            np.testing.assert_allclose(leaf.std(), (2 / np.prod(leaf.shape[:-1])) ** 0.5, rtol=0.05)
        elif path[-1].key in ("scale", "var"):
            assert 0.5 <= leaf.min() <= leaf.max() < 1.5
    jax.tree.map(np.testing.assert_array_equal, random_variables(NETWORK), random_variables(NETWORK))
    first = [jax.tree.leaves(random_variables(NETWORK, seed))[0] for seed in (0, 1)]
    assert not np.array_equal(*first)
