"""Whole networks: sizes, dtypes, samples of the supernet, auxiliary heads, train mode."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.filling import random_variables

from rtseg_jax.architecture import declare
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.models.network import BlockModule
from rtseg_jax.models.variables import lookup
from rtseg_jax.zoo import RTSeg

NETWORK = declare(
    RTSeg(3, width=0.05, segment_blocks=(1, 0, 0), expansion=1, mlp_ratio=1, head_width=8, auxiliary_channels=8)
)
SIZE = (33, 65)


def images(size=SIZE, batch=2):
    return jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)


@functools.cache
def shapes():
    model = SegmentationNetwork(NETWORK)
    return jax.eval_shape(functools.partial(model.init, auxiliary=True), jax.random.key(0), images())


@functools.cache
def variables():
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        value = rng.standard_normal(leaf.shape)
        if path[-1].key == "var":
            value = 0.5 + np.abs(value)
        elif path[-1].key == "kernel":
            value /= np.sqrt(np.prod(leaf.shape[:-1]))
        return jnp.asarray(value, jnp.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes())


def pictures():
    return jax.random.normal(jax.random.key(1), (2, *SIZE, 3))


@functools.cache
def compiled():
    """Main logits; None for the architecture compiles once more."""
    model = SegmentationNetwork(NETWORK)

    @jax.jit
    def run(variables, x, architecture):
        return model.apply(variables, x, architecture)["logits"]

    return run


def ones():
    return {group.name: jnp.ones(group.size) for group in NETWORK.searched_groups}


def logits(weights):
    architecture = Architecture(ones(), {"stage8_1": jnp.asarray(weights, jnp.float32)})
    return np.asarray(compiled()(variables(), pictures(), architecture))


@pytest.mark.parametrize("size", [(32, 64), (33, 65), (1, 1), (47, 30)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_logits_have_the_size_of_the_image_in_float32(size, dtype):
    model = SegmentationNetwork(NETWORK, dtype)
    outputs = jax.eval_shape(functools.partial(model.apply, auxiliary=True), shapes(), images(size))
    assert len(outputs["auxiliary"]) == 3
    for head in (outputs["logits"], *outputs["auxiliary"]):
        assert head.shape == (2, *size, 3)
        assert head.dtype == jnp.float32


def test_logits_are_enlarged_in_float32_whatever_the_dtype():
    head = NETWORK.blocks[-1]
    low = dataclasses.replace(head, ops=head.ops[:-1])
    values = {
        tensor: jax.random.normal(jax.random.key(0), (1, *tensor.size((32, 64)), tensor.channels), jnp.bfloat16)
        for tensor in head.inputs
    }
    module, before = (BlockModule(block, jnp.bfloat16, "native") for block in (head, low))
    weights = module.init(jax.random.key(0), list(values.values()), None, train=False)
    small = before.apply(weights, [values[tensor] for tensor in low.inputs], None, train=False)
    assert small.dtype == jnp.bfloat16
    expected = jax.image.resize(small.astype(jnp.float32), (1, 32, 64, 3), "bilinear", antialias=False)
    found = module.apply(weights, list(values.values()), None, train=False)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_parameters_do_not_depend_on_size_or_compute_dtype():
    model = SegmentationNetwork(NETWORK, jnp.bfloat16)
    init = functools.partial(model.init, auxiliary=True)
    assert jax.eval_shape(init, jax.random.key(0), images((48, 80), 1)) == shapes()


@pytest.mark.parametrize(("collection", "role"), [("params", "scale"), ("batch_stats", "var")])
def test_weights_of_another_shape_are_refused(collection, role):
    """Also where they could be broadcast to the declared one."""
    block = NETWORK.plain_blocks[0]
    weight = next(weight for weight in block.weights.values() if weight.name[-1] == role)
    values = jax.tree.map(jnp.asarray, variables())
    lookup(values[collection], (block.name, *weight.name[:-1]))[role] = jnp.ones(1)
    name = "/".join((block.name, *weight.name))
    with pytest.raises(ValueError, match=re.escape(f"{name} is of shape (1,); {weight.shape} is declared")):
        SegmentationNetwork(NETWORK).apply(values, pictures())


def test_auxiliary_heads_are_left_out_where_nobody_asks():
    model = SegmentationNetwork(NETWORK)
    plain = jax.eval_shape(model.init, jax.random.key(0), images())["params"]
    extra = shapes()["params"].keys() - plain.keys()
    assert extra == {"auxiliary8", "auxiliary16", "auxiliary32"}
    assert jax.eval_shape(model.apply, shapes(), images())["auxiliary"] == ()


def test_without_a_sample_both_operators_are_averaged():
    whole = compiled()(variables(), pictures(), None)
    np.testing.assert_allclose(whole, logits([0.0, 0.5, 0.5]), atol=1e-5 * np.abs(whole).max())
    for weights in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]):
        assert np.abs(logits(weights) - whole).max() > 1e-3 * np.abs(whole).max()


def test_pictures_of_a_batch_do_not_see_each_other():
    """In evaluation mode the second picture's logits stay when the first is replaced."""
    both = compiled()(variables(), pictures(), None)
    swapped = compiled()(variables(), pictures().at[0].set(7.0), None)
    np.testing.assert_allclose(swapped[1], both[1], atol=1e-6 * np.abs(both).max())
    assert np.abs(swapped[0] - both[0]).max() > 1e-3


def test_rematerialized_blocks_have_the_same_gradients():
    """Dropout draws the same numbers when a block is computed again, and running statistics move once."""
    network = declare(RTSeg(3, width=0.05, segment_blocks=(0, 0, 0), expansion=1, head_width=8, dropout=0.3))
    values = jax.tree.map(jnp.asarray, random_variables(network))

    def gradients(rematerialize):
        model = SegmentationNetwork(network, rematerialize=rematerialize)

        def loss(params):
            outputs, updated = model.apply(
                {**values, "params": params},
                pictures(),
                train=True,
                auxiliary=False,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(2)},
            )
            return (outputs["logits"] ** 2).mean(), updated

        gradient = jax.grad(loss, has_aux=True)
        again = str(jax.make_jaxpr(gradient)(values["params"])).count("prevent_cse=")
        fused = jax.jit(gradient, compiler_options={"xla_cpu_use_fusion_emitters": True})  # both round alike
        return fused(values["params"]), again

    (expected, never), (found, again) = gradients(False), gradients(True)
    assert never == 0
    assert again >= len(network.plain_blocks)

    for new, old in zip(found, expected, strict=True):  # gradients, then statistics
        largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(old))
        jax.tree.map(lambda a, e, tolerance=1e-6 * largest: np.testing.assert_allclose(a, e, 0, tolerance), new, old)
