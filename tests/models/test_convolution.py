"""Every lowering computes what `lax` computes: values, both gradients, dtypes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rtseg_jax.models import convolution, winograd
from rtseg_jax.models.convolution import conv2d, conv_transpose2d, default_lowering, depthwise_conv2d
from rtseg_jax.models.division import Division

SIZES = [(8, 12), (7, 9), (1, 1), (2, 3)]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def value_and_gradients(function, x, kernel):
    """Output, and the gradients of a fixed linear functional of it."""

    def run(x, kernel):
        y, pullback = jax.vjp(function, x, kernel)
        dy = jnp.cos(jnp.arange(y.size, dtype=jnp.float32) ** 2).reshape(y.shape).astype(y.dtype)
        return y, *pullback(dy)

    return jax.jit(run)(x, kernel)


def assert_same(actual, expected, tolerance=1e-5):
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        assert a.dtype == e.dtype
        largest = max(np.abs(np.asarray(e, np.float64)).max(), 1e-6)
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(e, np.float64), rtol=0, atol=tolerance * largest
        )


def lax_conv(x, kernel, stride, padding="SAME", groups=1):
    names = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=names, feature_group_count=groups
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("k", "multiplier"), [(3, 1), (3, 6), (1, 1)])
def test_depthwise_equals_grouped_convolution(size, stride, k, multiplier):
    x, kernel = normal(0, 2, *size, 5), normal(1, k, k, 1, 5 * multiplier)
    expected = value_and_gradients(lambda x, w: lax_conv(x, w, stride, groups=5), x, kernel)
    assert_same(
        value_and_gradients(lambda x, w: depthwise_conv2d(x, w, stride=stride, lowering="cpu"), x, kernel), expected
    )
    for lowering in ("native", "export"):
        assert_same([depthwise_conv2d(x, kernel, stride=stride, lowering=lowering)], expected[:1])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("k", "stride", "padding"),
    [(1, 1, "SAME"), (1, 2, "SAME"), (3, 1, "SAME"), (3, 2, "SAME"), (2, 2, "VALID"), (2, 2, "SAME"), (3, 1, "VALID")],
)
def test_convolution_equals_lax(size, k, stride, padding):
    if padding == "VALID" and min(size) < k:
        pytest.skip("the kernel does not fit")
    x, kernel = normal(0, 2, *size, 5), normal(1, k, k, 5, 7)

    def ours(x, w):
        return conv2d(x, w, stride=stride, padding=padding, lowering="cpu")

    expected = value_and_gradients(lambda x, w: lax_conv(x, w, stride, padding), x, kernel)
    assert_same(value_and_gradients(ours, x, kernel), expected)


@pytest.mark.parametrize("cached", [1, 4_000])
@pytest.mark.parametrize(("stride", "dilation", "outputs"), [(1, 1, 7), (2, 1, 50), (1, 2, 50), (2, 2, 7)])
def test_weight_gradient_a_few_rows_at_a_time(monkeypatch, cached, stride, dilation, outputs):
    monkeypatch.setattr(convolution, "CACHED", cached)
    x, kernel = normal(0, 2, 12, 7, 5), normal(1, 3, 3, 5, outputs)
    settings = {"stride": stride, "padding": ((2, 1), (0, 2)), "dilation": dilation}

    def of(lowering, **more):
        return value_and_gradients(lambda x, w: conv2d(x, w, **settings, lowering=lowering, **more), x, kernel)

    assert_same(of("cpu"), of("native"))
    assert_same(of("cpu", division=Division(rows=2)), of("native"), 0)


@pytest.mark.parametrize(("inputs", "outputs", "tiles"), [(5, 7, 512), (6, 4, 1)])
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((2, 1), (0, 2)), ((0, 0), (0, 0))])
@pytest.mark.parametrize("size", [(8, 12), (7, 9), (3, 4)])
def test_winograd_equals_lax(monkeypatch, size, padding, inputs, outputs, tiles):
    monkeypatch.setattr(winograd, "TILES", tiles)
    x, kernel = normal(0, 2, *size, inputs), normal(1, 3, 3, inputs, outputs)
    actual = value_and_gradients(lambda x, w: winograd.conv3x3(x, w, padding), x, kernel)
    assert_same(actual, value_and_gradients(lambda x, w: lax_conv(x, w, 1, padding), x, kernel))


def test_winograd_by_hand():
    y = winograd.conv3x3(jnp.ones((1, 3, 4, 1)), jnp.ones((3, 3, 1, 1)), ((1, 1), (1, 1)))
    np.testing.assert_array_equal(y[0, :, :, 0], [[4, 6, 6, 4], [6, 9, 9, 6], [4, 6, 6, 4]])


def test_winograd_where_it_saves_products():
    x, kernel = normal(0, 4, 32, 32, 80), normal(1, 3, 3, 80, 80)

    def products(lowering):
        run = jax.jit(lambda x, w: conv2d(x, w, lowering=lowering))
        return run.lower(x, kernel).compile().cost_analysis()["flops"]

    assert products("cpu") < products("native") / 1.8
    run = jax.jit(lambda x, w: conv2d(x, w, lowering="cpu"))
    assert_same([run(x, kernel)], [lax_conv(x, kernel, 1)])


@pytest.mark.parametrize(
    ("size", "kernel", "pays", "settings"),
    [
        ((4, 32, 32, 80), (3, 3, 80, 80), True, {}),  # 236 million multiply-accumulates
        ((3, 32, 32, 80), (3, 3, 80, 80), False, {}),  # too few
        ((4, 36, 32, 79), (3, 3, 79, 80), False, {}),  # 39.7 products for each sum
        ((4, 36, 32, 80), (3, 3, 80, 80), True, {"stride": 1, "dilation": 1}),
        ((4, 36, 32, 80), (3, 3, 80, 80), False, {"stride": 2}),
        ((4, 36, 32, 80), (3, 3, 80, 80), False, {"dilation": 2}),
        ((4, 36, 32, 80), (3, 3, 80, 80), False, {"dtype": "bfloat16"}),
        ((4, 36, 32, 800), (1, 1, 800, 80), False, {}),
        ((4, 64, 32, 80), (3, 3, 80, 80), False, {}),  # 10 MB when they are turned
        ((4, 64, 32, 80), (3, 3, 80, 80), True, {"division": Division(pictures=2)}),
    ],
)
def test_where_winograd_pays(size, kernel, pays, settings):
    given = {"stride": 1, "dilation": 1, "dtype": "float32", "division": Division(), **settings}
    x, kernel = jnp.zeros(size, given["dtype"]), jnp.zeros(kernel, given.pop("dtype"))
    assert winograd.pays(x, kernel, **given) is pays


def test_grouped_convolution():
    x, kernel = normal(0, 2, 6, 5, 8), normal(1, 3, 3, 4, 6)
    expected = lax_conv(x, kernel, 1, groups=2)
    for lowering in ("native", "cpu"):
        assert_same([conv2d(x, kernel, lowering=lowering)], [expected])


@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_convolution_lowerings_agree(stride):
    x, kernel = normal(0, 2, 3, 5, 6), normal(1, stride, stride, 6, 4)

    def of(lowering):
        return lambda x, w: conv_transpose2d(x, w, stride=stride, lowering=lowering)

    assert_same(value_and_gradients(of("cpu"), x, kernel), value_and_gradients(of("native"), x, kernel))


def test_transposed_convolution_by_hand():
    x, kernel = jnp.full((1, 1, 1, 1), 2.0), jnp.arange(4.0).reshape(2, 2, 1, 1)
    for lowering in ("native", "cpu"):
        y = conv_transpose2d(x, kernel, stride=2, lowering=lowering)
        np.testing.assert_array_equal(y[0, :, :, 0], [[6, 4], [2, 0]])


def test_transposed_convolution_refuses_holes():
    with pytest.raises(ValueError, match="2×2"):
        conv_transpose2d(normal(0, 1, 2, 2, 3), normal(1, 1, 1, 3, 4), stride=2, lowering="native")


@pytest.mark.parametrize("lowering", ["native", "cpu"])
def test_depthwise_by_hand(lowering):
    x = jnp.array([[1.0, 2, 3], [4, 5, 6]])[None, :, :, None]
    kernel = jnp.stack([jnp.ones((3, 3)), jnp.eye(3)], -1)[:, :, None]
    y = depthwise_conv2d(x, kernel, lowering=lowering)[0]
    np.testing.assert_array_equal(y[..., 0], [[12, 21, 16], [12, 21, 16]])
    np.testing.assert_array_equal(y[..., 1], [[6, 8, 3], [4, 6, 8]])


@pytest.mark.parametrize("lowering", ["native", "cpu"])
def test_bfloat16_stays_and_sums_in_float32(lowering):
    x, w = normal(0, 2, 32, 32, 8).astype(jnp.bfloat16), normal(1, 3, 3, 1, 8).astype(jnp.bfloat16)
    functions = [
        (lambda x, w: depthwise_conv2d(x, w, stride=2, lowering=lowering), w),
        (lambda x, w: conv2d(x, w, lowering=lowering), normal(2, 1, 1, 8, 4).astype(jnp.bfloat16)),
        (lambda x, w: conv2d(x, w, lowering=lowering), normal(2, 3, 3, 8, 4).astype(jnp.bfloat16)),
        (lambda x, w: conv2d(x, w, stride=2, lowering=lowering), normal(2, 2, 2, 8, 4).astype(jnp.bfloat16)),
        (lambda x, w: conv_transpose2d(x, w, stride=2, lowering=lowering), normal(2, 2, 2, 8, 4).astype(jnp.bfloat16)),
    ]
    for function, kernel in functions:
        actual = value_and_gradients(function, x, kernel)
        assert all(a.dtype == jnp.bfloat16 for a in actual)
        exact = value_and_gradients(function, x.astype(jnp.float32), kernel.astype(jnp.float32))
        # The gradient fed back is rounded too, so a bfloat16 step (2⁻⁸) of the largest value is what can be asked.
        assert_same([a.astype(jnp.float32) for a in actual], exact, 2**-7)


@pytest.mark.parametrize("least_reuse", [0, 40])
def test_batch_sharding_changes_nothing(monkeypatch, least_reuse):
    monkeypatch.setattr(winograd, "LEAST_REUSE", least_reuse)
    monkeypatch.setattr(winograd, "LEAST_MACS", 0)
    monkeypatch.setattr(winograd, "TILES", 1)
    monkeypatch.setattr(convolution, "CACHED", 1)  # the weight gradient goes through the rows one by one
    mesh = Mesh(np.array(jax.devices()[:2]), ("batch",))
    split, whole = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())
    x, depthwise, full = normal(0, 4, 8, 8, 6), normal(1, 3, 3, 1, 12), normal(2, 3, 3, 12, 8)

    def loss(kernels, x):
        y = depthwise_conv2d(x, kernels[0], stride=2, lowering="cpu")
        y = conv2d(y, kernels[1], lowering="cpu", division=Division(pictures=2))
        y = conv2d(y, kernels[2], lowering="cpu", division=Division(pictures=2))
        return jnp.sum(jnp.square(y)), y

    kernels = (depthwise, full, normal(3, 1, 1, 8, 8))
    inputs = (jax.device_put(kernels, whole), jax.device_put(x, split))
    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(*inputs).compile()
    (_, y), gradients = compiled(*inputs)
    (_, expected), expected_gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(kernels, x)
    assert y.sharding.is_equivalent_to(split, 4)
    assert_same([y, *gradients], [expected, *expected_gradients])
    # Devices exchange their sums once, not after every row.
    computations = dict(re.findall(r"^%(\S+) [^\n]*{\n(.*?)^}", compiled.as_text(), re.MULTILINE | re.DOTALL))
    loops = re.findall(r"body=%([\w.]+)", compiled.as_text())
    assert loops
    assert not any("all-reduce" in computations[loop] for loop in loops)


def test_repeated_runs_are_equal_to_the_bit():
    x, kernel = normal(0, 4, 32, 32, 16), normal(1, 3, 3, 1, 16)
    run = jax.jit(jax.grad(lambda w: jnp.sum(depthwise_conv2d(x, w, lowering="cpu") ** 2)))
    first = run(kernel)
    assert all((run(kernel) == first).all() for _ in range(5))


def test_default_lowering_follows_the_backend(monkeypatch):
    assert default_lowering() == "cpu"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert default_lowering() == "native"
