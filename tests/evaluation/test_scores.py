import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from rtseg_jax.errors import UserError
from rtseg_jax.evaluation.confusion import confusion_matrix, predict_labels, sum_confusions
from rtseg_jax.evaluation.scores import scores_from_confusion

matrix_of = jax.jit(confusion_matrix, static_argnums=3)

TRUTH = jnp.array([[[0, 0, 1], [1, 1, 2], [255, 2, 2]]], jnp.uint8)
PREDICTION = jnp.array([[[0, 1, 1], [1, 0, 2], [2, 2, 2]]], jnp.int32)
ONE = jnp.ones(1, bool)


def test_confusion_by_hand():
    matrix = matrix_of(PREDICTION, TRUTH, ONE, 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [1, 2, 0], [0, 0, 3]])


def test_scores_by_hand():
    scores = scores_from_confusion(np.array([[1, 1, 0], [1, 2, 0], [0, 0, 3]]), ("road", "car", "sky"))
    assert scores.iou == pytest.approx({"road": 1 / 3, "car": 2 / 4, "sky": 1.0})
    assert scores.miou == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert scores.pixel_accuracy == pytest.approx(6 / 8)
    assert scores.absent == ()


def test_rows_are_truth_and_columns_prediction():
    ones = jnp.ones((1, 1, 1), jnp.int32)
    np.testing.assert_array_equal(matrix_of(ones, 0 * ones, ONE, 2), [[0, 1], [0, 0]])


def test_agrees_with_sklearn():
    random = np.random.default_rng(0)
    truth, prediction = random.integers(0, 5, (2, 3, 16, 16))
    truth[random.random(truth.shape) < 0.2] = 255
    matrix = matrix_of(jnp.asarray(prediction), jnp.asarray(truth), jnp.ones(3, bool), 5)
    scored = truth != 255
    expected = sklearn.metrics.confusion_matrix(truth[scored], prediction[scored], labels=range(5))
    np.testing.assert_array_equal(matrix, expected)
    scores = scores_from_confusion(np.asarray(matrix), tuple("abcde"))
    jaccard = sklearn.metrics.jaccard_score(truth[scored], prediction[scored], average=None)
    np.testing.assert_allclose(list(scores.iou.values()), jaccard)
    assert scores.pixel_accuracy == pytest.approx(sklearn.metrics.accuracy_score(truth[scored], prediction[scored]))


def test_a_ragged_last_batch_is_scored_exactly():
    random = np.random.default_rng(1)
    truth, prediction = random.integers(0, 3, (2, 5, 4, 4))
    padded_truth = np.concatenate([truth, np.zeros((1, 4, 4), int)])
    padded_prediction = np.concatenate([prediction, np.ones((1, 4, 4), int)])
    valid = np.array([True] * 5 + [False])
    batches = [slice(0, 2), slice(2, 4), slice(4, 6)]
    total = sum_confusions(
        matrix_of(jnp.asarray(padded_prediction[b]), jnp.asarray(padded_truth[b]), jnp.asarray(valid[b]), 3)
        for b in batches
    )
    expected = sklearn.metrics.confusion_matrix(truth.ravel(), prediction.ravel(), labels=range(3))
    np.testing.assert_array_equal(total, expected)


def test_a_sharded_batch_is_counted_once():
    random = np.random.default_rng(2)
    truth, prediction = (jnp.asarray(a) for a in random.integers(0, 3, (2, 2, 4, 4)))
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    arrays = (prediction, truth, jnp.ones(2, bool))
    sharded = jax.device_put(arrays, jax.NamedSharding(mesh, jax.P("data")))
    np.testing.assert_array_equal(matrix_of(*sharded, 3), matrix_of(*arrays, 3))


def test_sums_beyond_int32():
    batch = np.full((1, 1), 2**31 - 1, np.int32)
    assert sum_confusions([batch, batch])[0, 0] == 2**32 - 2
    with pytest.raises(ValueError, match="no batch"):
        sum_confusions([])


def test_an_absent_class_is_named_and_left_out():
    # Class b is in neither; class c is only predicted, so it counts with IoU 0.
    scores = scores_from_confusion(np.array([[3, 0, 1], [0, 0, 0], [0, 0, 0]]), ("a", "b", "c"))
    assert scores.absent == ("b",)
    assert scores.iou == pytest.approx({"a": 0.75, "c": 0.0})
    assert scores.miou == pytest.approx(0.375)


def test_nothing_labelled_is_an_error_for_people():
    with pytest.raises(UserError, match="no labelled pixel"):
        scores_from_confusion(np.zeros((2, 2), int), ("a", "b"))


def test_class_names_must_fit():
    with pytest.raises(ValueError, match="2 class names"):
        scores_from_confusion(np.eye(3, dtype=int), ("a", "b"))


def test_the_table_has_a_line_per_class():
    scores = scores_from_confusion(np.array([[3, 0, 1], [0, 0, 0], [0, 0, 0]]), ("road", "sky", "traffic light"))
    assert str(scores).splitlines() == [
        "road             75.00 %",
        "traffic light     0.00 %",
        "sky             absent",
        "------------------------",
        "mIoU             37.50 %  (2 classes)",
        "pixel accuracy   75.00 %",
    ]


def test_predictions_interpolate_logits_before_deciding():
    # Two pixels, classes 0 and 1, the second three times as sure: of four pixels between them
    # (weights 1, ¾, ¼, 0 of the first) the first is 0 and the second a tie (¾ · 1 = ¼ · 3), which goes to class 0.
    logits = jnp.array([[[[1.0, 0.0], [0.0, 3.0]]]])
    np.testing.assert_array_equal(predict_labels(logits, (1, 4)), [[[0, 0, 1, 1]]])
    np.testing.assert_array_equal(predict_labels(logits.at[0, 0, 1, 1].set(3.1), (1, 4)), [[[0, 1, 1, 1]]])


def test_predictions_at_label_size_are_the_argmax(key):
    logits = jax.random.normal(key, (2, 3, 4, 5))
    np.testing.assert_array_equal(predict_labels(logits, (3, 4)), jnp.argmax(logits, -1))
