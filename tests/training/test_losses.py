import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE
from rtseg_jax.training.detail import detail_loss, detail_targets
from rtseg_jax.training.distillation import channelwise_distillation, distillation, pairwise_distillation
from rtseg_jax.training.losses import (
    LossSpec,
    cross_entropy,
    inverse_log_weights,
    median_frequency_weights,
    ohem_cross_entropy,
    segmentation_losses,
    total_loss,
)
from rtseg_jax.training.sums import sum_in_groups

LABELS = jnp.array([[[0, 1, IGNORE], [2, 2, 0]]], jnp.uint8)


@pytest.fixture
def logits(key):
    return 3 * jax.random.normal(key, (1, 2, 3, 3))


def binary_logits(losses, labels):
    """Two-class logits of a 1 × 1 × n picture whose pixels have the given losses."""
    right = np.exp(-np.asarray(losses))
    probability_of_one = np.where(np.asarray(labels) == 1, right, 1 - right)
    return jnp.log(jnp.stack([1 - probability_of_one, probability_of_one], axis=-1))[None, None]


def test_cross_entropy_is_the_mean_over_labelled_pixels(logits):
    # Uniform logits: every labelled pixel costs log 3, void none, and the mean divides by 5, not 6.
    np.testing.assert_allclose(cross_entropy(jnp.zeros((1, 2, 3, 3)), LABELS), np.log(3), rtol=1e-6)
    valid = np.asarray(LABELS != IGNORE)
    expected = optax.softmax_cross_entropy_with_integer_labels(logits[valid], LABELS[valid].astype(int)).mean()
    np.testing.assert_allclose(cross_entropy(logits, LABELS), expected, rtol=1e-6)


def test_cross_entropy_gradient_by_hand(logits):
    gradient = jax.grad(cross_entropy)(logits, LABELS)
    expected = (jax.nn.softmax(logits) - jax.nn.one_hot(LABELS, 3)) / 5
    expected = jnp.where((LABELS == IGNORE)[..., None], 0.0, expected)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_class_weights_divide_by_their_sum(logits):
    weights = jnp.array([1.0, 0.5, 4.0])
    pixel = -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), np.minimum(LABELS, 2)[..., None], -1)[..., 0]
    scale = np.array([[[1.0, 0.5, 0.0], [4.0, 4.0, 1.0]]])
    expected = (scale * pixel).sum() / 10.5
    np.testing.assert_allclose(cross_entropy(logits, LABELS, class_weights=weights), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, ohem_cross_entropy])
@pytest.mark.parametrize("weights", [None, jnp.array([1.0, 0.5, 4.0])])
def test_an_all_void_batch_gives_zero_and_no_gradient(loss, weights, logits):
    value, gradient = jax.jit(
        jax.value_and_grad(lambda z: loss(z, jnp.full((1, 2, 3), IGNORE), class_weights=weights))
    )(logits)
    assert value == 0
    np.testing.assert_array_equal(gradient, jnp.zeros_like(logits))


def test_only_classes_of_weight_zero_gives_zero(logits):
    labels = jnp.ones((1, 2, 3), jnp.int32)
    assert cross_entropy(logits, labels, class_weights=jnp.array([1.0, 0.0, 1.0])) == 0


@pytest.mark.parametrize("bad", [3, 254, -1])
def test_a_label_that_is_no_class_is_loud(bad, logits):
    labels = LABELS.astype(jnp.int32).at[0, 0, 0].set(bad)
    assert jnp.isnan(cross_entropy(logits, labels))
    assert jnp.isnan(ohem_cross_entropy(logits, labels))


def test_losses_of_bfloat16_logits_are_float32_sums():
    # In bfloat16 a sum of 4,096 equal terms stops growing at 256 of them.
    logits, labels = jnp.zeros((1, 64, 64, 2), jnp.bfloat16), jnp.zeros((1, 64, 64), jnp.uint8)
    for loss in (cross_entropy(logits, labels), ohem_cross_entropy(logits, labels)):
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, np.log(2), rtol=1e-4)
    assert distillation(logits, logits).dtype == jnp.float32


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 33), (2, 65, 7), (1, 32, 1025)])
def test_sums_in_groups_count_every_pixel_once(shape):
    values = np.random.default_rng(0).integers(-9, 9, shape)  # whole numbers: exact
    assert sum_in_groups(jnp.asarray(values, jnp.float32)) == values.sum()
    gradient = jax.grad(lambda x: sum_in_groups(x * x))(jnp.asarray(values, jnp.float32))
    np.testing.assert_array_equal(gradient, 2 * values)


def test_many_equal_losses_do_not_drift():
    # One after the other, 2²³ terms of this size are off by 6e-4 and 2²⁵ ones stop at 2²⁴.
    labels = jnp.zeros((16, 512, 1024), jnp.uint8)
    value = jax.jit(cross_entropy)(jnp.zeros((16, 512, 1024, 2)), labels)
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    assert jax.jit(sum_in_groups)(jnp.ones((33, 1024, 1024))) == 33 * 2**20


def test_weighted_losses_of_many_pixels_agree_with_float64():
    random = np.random.default_rng(0)
    shape, weights = (8, 256, 512), np.array([1.0, 0.3, 4.7])
    logits = random.standard_normal((*shape, 3), np.float32)
    labels = random.integers(0, 3, shape).astype(np.uint8)
    exact = logits.astype(np.float64)
    pixel = np.log(np.exp(exact).sum(-1)) - np.take_along_axis(exact, labels[..., None].astype(int), -1)[..., 0]
    expected = (weights[labels] * pixel).sum() / weights[labels].sum()
    value = jax.jit(cross_entropy)(logits, labels, class_weights=jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(value, expected, rtol=2e-7)
    other = random.standard_normal((*shape, 3), np.float32).astype(np.float64)
    student, teacher = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (exact, other))
    expected = (np.exp(student) * (student - teacher)).sum(-1).mean()
    value = jax.jit(distillation)(logits, jnp.asarray(other, jnp.float32))
    np.testing.assert_allclose(value, expected, rtol=2e-7)


def test_ohem_keeps_the_pixels_above_the_threshold():
    labels = jnp.array([[[0, 1, 0, 1, 0, IGNORE]]])
    losses = [2.0, 1.0, 0.5, 0.1, 0.2, 9.0]  # −log 0.7 = 0.357: three are hard, the void one is not one of them
    loss = ohem_cross_entropy(binary_logits(losses, labels[0, 0]), labels, min_kept=0.2)
    np.testing.assert_allclose(loss, (2.0 + 1.0 + 0.5) / 3, rtol=1e-5)


def test_ohem_keeps_at_least_the_hardest_share():
    labels = jnp.array([[[0, 1, 0, 1, 0, IGNORE]]])
    losses = [0.5, 0.3, 0.2, 0.1, 0.05, 9.0]  # one is hard, ⌈0.5 · 5⌉ = 3 are wanted
    loss = ohem_cross_entropy(binary_logits(losses, labels[0, 0]), labels, min_kept=0.5)
    np.testing.assert_allclose(loss, (0.5 + 0.3 + 0.2) / 3, rtol=1e-5)


def test_ohem_learns_from_a_single_labelled_pixel():
    labels = jnp.array([[[0, IGNORE, IGNORE, IGNORE]]])
    logits = binary_logits([0.1, 5.0, 5.0, 5.0], labels[0, 0])
    value, gradient = jax.value_and_grad(ohem_cross_entropy)(logits, labels)  # 1/16 of one pixel is rounded up
    np.testing.assert_allclose(value, 0.1, rtol=1e-5)
    assert jnp.abs(gradient[0, 0, 0]).min() > 0
    np.testing.assert_array_equal(gradient[0, 0, 1:], jnp.zeros((3, 2)))


def test_ohem_ties_share_the_last_places():
    labels = jnp.zeros((1, 1, 4), jnp.int32)
    logits = binary_logits([0.3, 0.2, 0.2, 0.1], labels[0, 0])
    # Two places: the hardest pixel has one, the two tied share the other.
    value, gradient = jax.value_and_grad(lambda z: ohem_cross_entropy(z, labels, min_kept=0.5))(logits)
    np.testing.assert_allclose(value, (0.3 + 0.2) / 2, rtol=1e-5)
    slope = 1 - np.exp(-np.array([0.3, 0.2, 0.2, 0.1]))
    np.testing.assert_allclose(gradient[0, 0, :, 1], slope * [0.5, 0.25, 0.25, 0.0], atol=1e-6)


def test_ohem_with_everything_kept_is_cross_entropy(logits):
    np.testing.assert_allclose(
        ohem_cross_entropy(logits, LABELS, min_kept=1.0), cross_entropy(logits, LABELS), rtol=1e-6
    )


def test_ohem_counts_pixels_of_the_whole_sharded_batch(key):
    labels = jnp.concatenate([jnp.full((1, 4, 4), IGNORE), jnp.zeros((1, 4, 4), jnp.int32)])
    logits = jax.random.normal(key, (2, 4, 4, 3))
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put((logits, labels), jax.NamedSharding(mesh, jax.P("data")))
    for loss in (cross_entropy, ohem_cross_entropy):
        np.testing.assert_allclose(jax.jit(loss)(*sharded), loss(logits, labels), rtol=1e-6)


def test_distillation_is_student_first():
    student, teacher = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
    expected = np.sum(student * np.log(student / teacher))
    logits = [jnp.broadcast_to(jnp.log(p)[None, None, None], (1, 2, 2, 3)) for p in (student, teacher)]
    np.testing.assert_allclose(distillation(*logits), expected, rtol=1e-5)
    np.testing.assert_allclose(distillation(logits[0], logits[0]), 0, atol=1e-7)


def test_distillation_with_the_teacher_first():
    teacher = jnp.log(jnp.array([0.75, 0.25]))[None, None, None]
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    np.testing.assert_allclose(distillation(jnp.zeros((1, 1, 1, 2)), teacher, "teacher"), expected, rtol=1e-5)


def test_pairwise_distillation_compares_angles_between_nodes():
    # Two nodes of 2 × 2 pixels: their means are (1, 0) and (3, 3), at half a right angle; the teacher's are parallel.
    student = jnp.zeros((1, 2, 4, 2)).at[0, :, 0, 0].set(2.0).at[0, 0, 2:, 0].set(6.0).at[0, :, 2:, 1].set(3.0)
    teacher = jnp.array([[[[3.0, 4.0, 0.0], [6.0, 8.0, 0.0]]]])
    np.testing.assert_allclose(pairwise_distillation(student, teacher, (1, 2)), 2 * (1 - 0.5**0.5) ** 2 / 4, rtol=1e-6)
    np.testing.assert_allclose(pairwise_distillation(3 * student, student, (1, 2)), 0, atol=1e-6)
    dead = jax.grad(pairwise_distillation)(jnp.zeros_like(student), teacher, (1, 2))  # a map without activations
    assert jnp.isfinite(dead).all()


def test_channelwise_distillation_compares_where_a_channel_is_active():
    # At T = 4 the teacher's first channel has shares 3/4 and 1/4 of two pixels, the student's halves; both agree on the
    # second channel, up to a constant.
    student = jnp.array([[[[0.0, 1.0]], [[0.0, 5.0]]]])
    teacher = jnp.array([[[[4 * np.log(3.0), 7.0]], [[0.0, 11.0]]]])
    expected = 16 * (0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2
    np.testing.assert_allclose(channelwise_distillation(student, teacher), expected, rtol=1e-5)


def test_edges_of_three_strides_are_fused():
    alone = jnp.zeros((3, 8, 8), jnp.uint8).at[0, 1, 1].set(1).at[1, 2, 2].set(1).at[2, 4, 4].set(1)
    expected = np.zeros((3, 8, 8))
    expected[0, 1, 1] = 1  # no stride but 1 sees it
    expected[1, 2:4, 2:4] = 1  # stride 2 sees it, stride 4 does not
    expected[2, 4:6, 4:6] = 1  # stride 4 sees it, but its share is too small to count alone
    np.testing.assert_array_equal(detail_targets(alone), expected)
    halves = jnp.asarray(np.array([[2] * 3 + [5] * 2 + [IGNORE]] * 3), jnp.uint8)[None]
    np.testing.assert_array_equal(detail_targets(halves)[0], [[0, 0, 0, 1, 0, 0]] * 3)  # the larger number is the edge


def test_detail_loss_by_hand():
    labels = jnp.array([[[0, 1, IGNORE]]], jnp.uint8)  # the second pixel is an edge, the third costs nothing
    logits = jnp.array([0.0, np.log(3.0), 5.0])[None, None, :, None]
    entropy = (np.log(2) + np.log(4 / 3)) / 2
    dice = 1 - (2 * 0.75 + 1) / (0.5 + 0.75 + 1 + 1)
    np.testing.assert_allclose(detail_loss(logits, labels), entropy + dice, rtol=1e-6)


def test_distillation_teaches_only_the_student(logits):
    for loss in (distillation, channelwise_distillation, lambda s, t: pairwise_distillation(s, t, (2, 2))):
        student, teacher = jax.grad(loss, argnums=(0, 1))(logits, logits[:, ::-1])
        assert jnp.abs(student).max() > 1e-6
        np.testing.assert_array_equal(teacher, jnp.zeros_like(teacher))


def make_outputs(key, heads):
    keys = jax.random.split(key, heads + 1)
    maps = [jax.random.normal(k, (1, 2, 3, 3)) for k in keys]
    return {"logits": maps[0], "auxiliary": tuple(maps[1:])}


def test_segmentation_losses_sum_heads_and_average_distillation(key):
    outputs, teacher = make_outputs(key, 2), make_outputs(jax.random.key(1), 2)
    losses = segmentation_losses(outputs, LABELS, teacher, LossSpec(lam=1.0))
    assert set(losses) == {"segmentation", "auxiliary", "distillation"}
    first, second = outputs["auxiliary"]
    np.testing.assert_allclose(losses["segmentation"], cross_entropy(outputs["logits"], LABELS), rtol=1e-6)
    expected = cross_entropy(first, LABELS) + cross_entropy(second, LABELS)
    np.testing.assert_allclose(losses["auxiliary"], expected, rtol=1e-6)
    pairs = [(outputs["logits"], teacher["logits"]), *zip(outputs["auxiliary"], teacher["auxiliary"], strict=True)]
    np.testing.assert_allclose(losses["distillation"], np.mean([distillation(*pair) for pair in pairs]), rtol=1e-6)


def test_segmentation_losses_without_heads_or_teacher(key):
    losses = segmentation_losses(make_outputs(key, 0), LABELS, None, LossSpec())
    assert set(losses) == {"segmentation", "auxiliary"}
    assert losses["auxiliary"] == 0


def test_segmentation_losses_follow_the_spec(key):
    outputs = make_outputs(key, 1)
    spec = LossSpec(ohem=True, ohem_threshold=0.1, ohem_min_kept=0.3, class_weights=(1.0, 0.5, 4.0))
    losses, weights = segmentation_losses(outputs, LABELS, None, spec), jnp.array([1.0, 0.5, 4.0])
    expected = ohem_cross_entropy(outputs["logits"], LABELS, threshold=0.1, min_kept=0.3, class_weights=weights)
    np.testing.assert_allclose(losses["segmentation"], expected, rtol=1e-6)
    expected = cross_entropy(outputs["auxiliary"][0], LABELS, class_weights=weights)
    np.testing.assert_allclose(losses["auxiliary"], expected, rtol=1e-6)


def test_total_loss_weighs_what_is_there():
    losses = {"segmentation": 2.0, "auxiliary": 3.0, "distillation": 5.0, "cost": 7.0}
    losses = {name: jnp.float32(value) for name, value in losses.items()}
    np.testing.assert_allclose(total_loss(losses, LossSpec(lam=0.001)), 2 + 3 + 0.001 * 5 + 0.01 * 7, rtol=1e-6)
    more = {name: jnp.float32(1.0) for name in ("pairwise", "channelwise", "detail")}
    spec = LossSpec(pairwise=10.0, channelwise=3.0, detail=0.5, teacher="there", beta=0.0, gamma=0.0)
    np.testing.assert_allclose(total_loss(losses | more, spec), 2 + 10 + 3 + 0.5, rtol=1e-6)
    del losses["cost"]
    np.testing.assert_allclose(total_loss(losses, LossSpec(gamma=0.5, lam=1.0)), 2 + 1.5 + 5, rtol=1e-6)
    with pytest.raises(KeyError, match="typo"):
        total_loss({"typo": jnp.float32(1)}, LossSpec())


@pytest.mark.parametrize(
    "settings",
    [
        {"ohem_threshold": 0.0},
        {"ohem_min_kept": 20.0},
        {"class_weights": (1.0, -1.0)},
        {"kl_first": "nobody"},
        {"pairwise": 1.0},
        {"teacher": "there"},
        {"detail_at": "x"},
        {"detail": -1.0},
    ],
)
def test_a_spec_out_of_range_is_refused(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        LossSpec(**settings)


def test_median_frequency_weights_by_hand():
    # Median of the present 10, 20, 40 is 20.
    np.testing.assert_allclose(median_frequency_weights(np.array([10, 0, 20, 40])), [2, 1, 1, 0.5])
    np.testing.assert_array_equal(median_frequency_weights(np.zeros(3, int)), np.ones(3))


def test_inverse_log_weights_by_hand():
    weights = inverse_log_weights(np.array([0, 25, 75]))
    np.testing.assert_allclose(weights, 1 / np.log([1.02, 1.27, 1.77]))
    np.testing.assert_allclose(inverse_log_weights(np.zeros(2, int)), 1 / np.log(1.02))
