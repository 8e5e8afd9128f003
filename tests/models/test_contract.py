"""What every kind of block promises: shapes at odd sizes, dtypes, gradients, a stable tree, a price, purity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.architecture import Block, counts, declare
from rtseg_jax.architecture.extents import Strided
from rtseg_jax.models import SegmentationNetwork
from rtseg_jax.models.network import BlockModule
from rtseg_jax.zoo import BiSeNetV2, RTSeg

SIZE = (33, 65)
BATCH = 4  # the context block normalizes over the batch alone: two pictures would leave no gradient

_SMALL = {"width": 0.25, "expansion": 2, "mlp_ratio": 2, "head_width": 8, "auxiliary_channels": 8}
_NETWORKS = [
    declare(RTSeg(5, segment_blocks=(1, 0, 0), **_SMALL)),
    declare(BiSeNetV2(5, segment_blocks=(1, 0, 0), width=0.25, expansion=2, auxiliary_channels=8)),
]
BLOCKS = {
    "conv": "detail_2_1",
    "stem": "stem",
    "downsample": "stage8_down",
    "lir": "stage8_1_lir",
    "mhsa": "stage8_1_mhsa",
    "gather_expansion": "stage8_1",
    "gather_expansion_down": "stage8_down",
    "context": "context",
    "aggregation": "aggregation",
    "head": "head",
}
# What follows takes these away again: softmax a constant added to all keys, batch norm a shift that a 1×1 convolution
# hands on.
WITHOUT_GRADIENT = {
    "mhsa": {"key/bias"},
    "lir": {"depthwise/norm/bias"},
    "downsample": {"depthwise_2/norm/bias", "shortcut_depthwise/norm/bias"},
    "gather_expansion_down": {"shortcut_depthwise/norm/bias"},
    "context": {"mean_norm/bias"},
}


def block_of(kind: str) -> Block:
    """An example of the kind."""
    blocks = [block for network in _NETWORKS for block in network.plain_blocks if block.kind == kind]
    return next(block for block in blocks if block.name == BLOCKS[kind])


def inputs_of(block, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(BATCH, *tensor.size(SIZE), tensor.channels) for tensor in block.inputs]
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def module_of(kind, dtype=jnp.float32):
    return BlockModule(block_of(kind), dtype, "native")


def random_like(shapes, seed=0):
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        value = rng.standard_normal(leaf.shape)
        if path[-1].key in ("var", "scale"):
            value = 0.5 + np.abs(value)
        elif path[-1].key == "kernel":
            value /= np.sqrt(np.prod(leaf.shape[:-1]))
        return jnp.asarray(value, jnp.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def init_shapes(kind, dtype=jnp.float32):
    block = block_of(kind)
    init = functools.partial(module_of(kind, dtype).init, masks=None, train=False)
    return jax.eval_shape(init, jax.random.key(0), inputs_of(block, dtype))


@functools.cache
def trained(kind):
    """One gradient step on a random linear functional of the output, compiled."""
    block, module = block_of(kind), module_of(kind)

    @jax.jit
    def step(variables, inputs, weights):
        def loss(params):
            output, updates = module.apply(
                {**variables, "params": params},
                inputs,
                None,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return jnp.sum(output * weights), (output, updates.get("batch_stats", {}))

        gradients, (output, stats) = jax.grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradients)
        return output, gradients, {"params": params, "batch_stats": stats}

    variables = random_like(init_shapes(kind))
    inputs = inputs_of(block)
    weights = jax.random.normal(jax.random.key(2), (BATCH, *block.output.size(SIZE), block.output.channels))
    return variables, step(variables, inputs, weights), step(variables, inputs, weights)


def flat(tree):
    return {
        "/".join(key.key for key in path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_every_kind_is_in_the_suite():
    kinds = {block.kind for network in _NETWORKS for block in (*network.plain_blocks, *network.auxiliary)}
    assert kinds == set(BLOCKS)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kind", BLOCKS)
def test_shape_and_dtype(kind, dtype):
    block = block_of(kind)
    variables = init_shapes(kind, dtype)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    apply = functools.partial(module_of(kind, dtype).apply, masks=None, train=False)
    output = jax.eval_shape(apply, variables, inputs_of(block, dtype))
    assert output.shape == (BATCH, *block.output.size(SIZE), block.output.channels)
    assert output.dtype == (jnp.float32 if kind == "head" else dtype)  # logits are enlarged in float32


@pytest.mark.parametrize("kind", BLOCKS)
def test_stride(kind):
    block = block_of(kind)
    expected = {"conv": 2, "stem": 4, "downsample": 2, "gather_expansion_down": 2}.get(kind, 1)
    if kind == "head":  # logits return to the size of the image
        assert block.output.extent == Strided(1)
    else:
        assert block.output.extent == Strided(expected * block.inputs[0].extent.stride)


@pytest.mark.parametrize("kind", BLOCKS)
def test_gradients_reach_every_parameter(kind):
    _, (output, gradients, _), _ = trained(kind)
    assert np.all(np.isfinite(output))
    none = WITHOUT_GRADIENT.get(kind, set())
    for name, gradient in flat(gradients).items():
        largest = np.abs(gradient).max()
        if name in none:
            assert largest < 1e-3, name
        else:
            assert np.isfinite(largest), name
            assert largest > 1e-2, name


@pytest.mark.parametrize("kind", BLOCKS)
def test_tree_is_the_same_after_a_step(kind):
    variables, (_, _, after), _ = trained(kind)
    shapes = init_shapes(kind)
    description = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert description({"batch_stats": {}, **shapes}) == description({"batch_stats": {}, **after})
    assert jax.tree.structure(variables) == jax.tree.structure(shapes)
    for name, statistics in flat(after["batch_stats"]).items():
        assert np.any(statistics != flat(variables["batch_stats"])[name]), name


@pytest.mark.parametrize("kind", ["conv", "lir"])
def test_eager_initialization_gives_the_declared_tree(kind):
    variables = module_of(kind).init(jax.random.key(0), inputs_of(block_of(kind)), None, train=False)
    shapes = init_shapes(kind)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("kind", BLOCKS)
def test_price(kind):
    block = block_of(kind)
    assert counts.block_macs(block, SIZE) > 0
    assert counts.block_parameters(block) == sum(leaf.size for leaf in jax.tree.leaves(init_shapes(kind)["params"]))


@pytest.mark.parametrize("kind", BLOCKS)
def test_same_input_same_output(kind):
    _, first, second = trained(kind)
    jax.tree.map(np.testing.assert_array_equal, first, second)


# --- the choice between blocks ---


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_mixed_weighs_its_paths(dtype):
    """Equation 7, one path at a time, in any mixture, and the plain average where no sample is given."""
    model = SegmentationNetwork(_NETWORKS[0], dtype)
    skip, lir, mhsa = (jnp.full((1, 2, 2, 8), value, dtype) for value in (1.0, 2.0, 4.0))

    def mix(weights):
        return model._mix(skip, [lir, mhsa], None if weights is None else jnp.asarray(weights))

    for weights, expected in [
        ((1.0, 0.0, 0.0), 1.0),
        ((0.0, 1.0, 0.0), 2.0),
        ((0.0, 0.0, 1.0), 4.0),
        ((0.5, 0.25, 0.25), 2.0),
        (None, 3.0),
    ]:
        output = mix(weights)
        assert output.dtype == dtype
        np.testing.assert_array_equal(output.astype(jnp.float32), np.full((1, 2, 2, 8), expected, np.float32))


def test_mixed_gives_every_path_weight_a_gradient():
    model = SegmentationNetwork(_NETWORKS[0])
    skip, lir, mhsa = (jnp.full((1, 2, 2, 8), value) for value in (1.0, 2.0, 4.0))
    gradient = jax.grad(lambda weights: model._mix(skip, [lir, mhsa], weights).mean())(jnp.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(gradient, [1.0, 2.0, 4.0])  # unselected ones too
