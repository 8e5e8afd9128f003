"""What every operator promises: counts, the NumPy interpreter's numbers in every lowering, slicing, a price."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_network
from helpers.filling import network_of, random_variables
from helpers.operator_cases import CASES, CELLS, KERNELS, SIZE, WHOLE, X, block_of

from rtseg_jax.architecture import Builder, Group, Tensor, counts, operators
from rtseg_jax.architecture.builder import fixed
from rtseg_jax.architecture.decided import resize_block
from rtseg_jax.architecture.extents import Strided
from rtseg_jax.architecture.graph import Op
from rtseg_jax.errors import UserError
from rtseg_jax.export.spec import FLOAT32
from rtseg_jax.latency.features import block_terms, width_features
from rtseg_jax.models.cells import cell_conv
from rtseg_jax.models.network import BlockModule
from rtseg_jax.models.operators import Context, apply_op
from rtseg_jax.search.slicing import slice_variables

BATCH = 2
LOWERINGS = ("native", "cpu", "export")


def random_inputs(block, seed=1):
    generator = np.random.default_rng(seed)
    shapes = [(BATCH, *tensor.size(SIZE), tensor.channels) for tensor in block.inputs]
    return [jnp.asarray(2 * generator.standard_normal(shape), jnp.float32) for shape in shapes]


@functools.partial(jax.jit, static_argnums=(0, 1))
def run(blocks, lowerings, variables, inputs, masks):
    """Outputs of several blocks, in several lowerings: one compilation."""
    return [
        BlockModule(block, jnp.float32, lowering).apply(own(block, given), list(x), mask, train=False)
        for block, lowering, given, x, mask in zip(blocks, lowerings, variables, inputs, masks, strict=True)
    ]


def own(block, variables):
    return {name: tree.get(block.name, {}) for name, tree in variables.items()}


def largest_difference(found, expected):
    assert found.shape == expected.shape
    return float(np.abs(np.asarray(found) - np.asarray(expected)).max() / max(np.abs(np.asarray(expected)).max(), 1e-6))


def test_every_operator_is_in_the_suite():
    def concrete(kind):
        for child in kind.__subclasses__():
            yield child
            yield from concrete(child)

    ours = {kind for kind in concrete(Op) if kind.__module__ == operators.__name__}
    assert ours - {operators.Plain} == {case[0] for case in CASES.values()}
    for name, (kind, *_) in CASES.items():
        assert isinstance(block_of(name).ops[-1], kind)


@pytest.mark.parametrize("name", CASES)
def test_counts(name):
    block = block_of(name)
    assert counts.block_macs(block, SIZE) == CASES[name][2]
    init = functools.partial(BlockModule(block, jnp.float32, "native").init, masks=None, train=False)
    tree = jax.eval_shape(init, jax.random.key(0), random_inputs(block))
    declared = random_variables(network_of(block))
    for collection in ("params", "batch_stats"):
        shapes = jax.tree.map(jnp.shape, declared[collection].get(block.name, {}))
        assert jax.tree.map(jnp.shape, tree.get(collection, {})) == shapes
    assert counts.block_parameters(block) == sum(leaf.size for leaf in jax.tree.leaves(tree.get("params", {})))


@pytest.mark.parametrize("name", CASES)
def test_lowerings_compute_what_numpy_computes(name):
    block = block_of(name)
    variables, inputs = random_variables(network_of(block)), random_inputs(block)
    values = dict(zip(block.inputs, (np.asarray(x, np.float64) for x in inputs), strict=True))
    expected = numpy_network.run_block(block, variables, values)
    assert expected.shape == (BATCH, *block.output.size(SIZE), block.output.channels)
    outputs = run((block,) * 3, LOWERINGS, (variables,) * 3, (inputs,) * 3, (None,) * 3)
    for lowering, output in zip(LOWERINGS, outputs, strict=True):
        assert largest_difference(output, expected) < 2e-6, lowering


def kept_channels(tensor, kept):
    parts, offset = [], 0
    for group in tensor.groups:
        indices = kept.get(group.name, np.arange(group.size))
        parts += [offset + i * group.unit + j for i in indices for j in range(group.unit)]
        offset += group.channels
    return np.asarray(parts)


@pytest.mark.parametrize("name", CASES)
def test_masked_equals_sliced(name):
    block = block_of(name)
    variables, inputs = random_variables(network_of(block)), random_inputs(block)
    generator = np.random.default_rng(3)
    tensors = (*block.inputs, *(op.output for op in block.ops))
    searched = {group.name: group for tensor in tensors for group in tensor.groups if group.searched}
    kept = {key: np.sort(generator.permutation(g.size)[: max(1, g.size // 2)]) for key, g in searched.items()}
    masks = {key: jnp.zeros(g.size).at[kept[key]].set(1.0) for key, g in searched.items()}
    small = resize_block(block, {key: len(indices) for key, indices in kept.items()})
    sliced = slice_variables(variables, network_of(block), network_of(small), kept)
    assert jax.tree.map(jnp.shape, sliced) == jax.tree.map(jnp.shape, random_variables(network_of(small)))
    fewer = [x[..., kept_channels(tensor, kept)] for x, tensor in zip(inputs, block.inputs, strict=True)]
    masked, cut = run((block, small), ("native",) * 2, (variables, sliced), (inputs, fewer), (masks, None))
    assert largest_difference(masked[..., kept_channels(block.output, kept)], cut) < 1e-5
    count = {key: len(indices) for key, indices in kept.items()}
    partial = counts.block_parameters(block, lambda group: count.get(group.name, group.size))
    assert partial == counts.block_parameters(small)


@pytest.mark.parametrize("name", CASES)
def test_price_never_falls(name):
    block = block_of(name)
    features = np.asarray(width_features(block_terms(block, SIZE, FLOAT32)))
    small = resize_block(block, {"a": 4, "b": 2, "heads": 2, "w": 3})
    fewer = np.asarray(width_features(block_terms(small, SIZE, FLOAT32)))
    assert (fewer <= features).all()
    if name not in ("dropout", "drop_path"):
        assert features.sum() > 0


@pytest.mark.parametrize(
    ("write", "shared"),
    [
        (lambda b: b.dropout("op", X, 0.25), ()),
        (lambda b: b.dropout("op", X, 0.25, maps=True), (1, 2)),
        (lambda b: b.drop_path("op", X, 0.25), (1, 2, 3)),
    ],
)
def test_what_dropout_drops(write, shared):
    """In training, numbers, maps or whole pictures are 0 or 4/3 of what they were; a quarter of them are 0."""
    builder = Builder("b", "case", "segment")
    write(builder)
    module = BlockModule(builder.build(), jnp.float32, "native")
    x = jnp.ones((400, 2, 3, 12))
    y = np.asarray(module.apply({}, [x], None, train=True, rngs={"dropout": jax.random.key(0)}))
    np.testing.assert_allclose(np.unique(y), [0.0, 4 / 3], rtol=1e-6)
    assert (y == y.max(shared, keepdims=True)).all()
    firsts = y[:, :1, :1, :1] if shared == (1, 2, 3) else y[:, :1, :1] if shared else y
    assert (firsts == 0).mean() == pytest.approx(0.25, abs=0.06)
    np.testing.assert_array_equal(module.apply({}, [x], None, train=False), x)


# --- what cannot be ---


def test_cells_that_do_not_divide_a_map():
    x, kernels = jnp.zeros((1, 8, 9, 6)), jnp.zeros((1, 3, 3, 24))
    with pytest.raises(UserError, match=r"8 pixels cannot be cut into 3 equal cells; .* multiples of 32"):
        cell_conv(x, kernels, 4)


class Foreign(Op):
    """An operator that says nothing of itself."""


def test_an_operator_that_says_nothing_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Foreign("op", (X,), X)


def test_an_operator_that_nobody_computes_is_an_error():
    class Unknown(operators.Plain):
        pass

    with pytest.raises(NotImplementedError, match="Unknown has no implementation"):
        apply_op(
            Unknown("op", (X,), X), [], Context(None, False, jnp.float32, "native", lambda _: None, lambda *_: None)
        )


def test_shared_weights_must_be_the_same():
    builder = Builder("b", "case", "segment")
    builder.conv("one", X, 8)
    builder.conv("two", X, 4, shared="one")
    with pytest.raises(ValueError, match="one/kernel is shared"):
        builder.build().weights  # noqa: B018


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda b: b.conv("op", X, 8, groups=4), "whole groups of a grouped convolution"),
        (lambda b: b.conv("op", WHOLE, 12, groups=6), "whole groups of a grouped convolution"),
        (lambda b: b.conv("op", X, 8, groups=5), "are no groups of"),
        (lambda b: b.shuffle("op", X, 2), "cannot be searched"),
        (lambda b: b.pool("op", X, "max", window=9, padding="centred", cut=True), "only where there is no padding"),
        (lambda b: b.pool("op", X, "max", stride=(2, 1)), "one stride"),
        (lambda b: b.add(operators.Split, "op", (X,), (Group("c", 4),), X.extent), "side by side"),
        (lambda b: b.unpool("op", Tensor("z", (Group("z", 12),), Strided(4)), X, X), "of the pooling that it undoes"),
        (lambda b: b.gate("op", X, X, "prelu"), "no slope"),
        (lambda b: b.warp("op", X, X), "a flow has two channels"),
        (lambda b: b.cell_conv("op", CELLS, KERNELS, fixed("out", 5)), "its kernels are 30 numbers"),
        (lambda b: b.cell_conv("op", CELLS, KERNELS, Group("out", 4)), "computed kernels cannot be searched"),
    ],
)
def test_declarations_that_cannot_be(write, message):
    def declare():
        builder = Builder("b", "case", "segment")
        write(builder)
        return builder.build().weights

    with pytest.raises(ValueError, match=message):
        declare()
