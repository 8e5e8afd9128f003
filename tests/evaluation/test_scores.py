"""Scores against scikit-learn and by hand; the official rules where they differ."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from PIL import Image

from rtseg_jax.errors import UserError
from rtseg_jax.evaluation.confusion import confusion_matrix
from rtseg_jax.evaluation.rules import CITYSCAPES_GROUPS, DEFAULT, RULES
from rtseg_jax.evaluation.scores import scores_from_confusion
from rtseg_jax.evaluation.tally import Tally, picture_miou

TRUTH = np.array([[0, 0, 1], [1, 1, 2], [255, 2, 2]], np.uint8)
PREDICTION = np.array([[0, 1, 1], [1, 0, 2], [2, 2, 2]], np.uint8)
PLACES = [folder / "shared/data/fixtures/sceneparsing_sample/sampleData" for folder in Path(__file__).parents]
SAMPLE = next((place for place in PLACES if place.is_dir()), None)


def random_maps(seed, classes, shape=(16, 16), ignored=0.2):
    random = np.random.default_rng(seed)
    truth, prediction = random.integers(0, classes, (2, *shape)).astype(np.uint8)
    truth[random.random(shape) < ignored] = 255
    return truth, prediction


def test_confusion_by_hand():
    np.testing.assert_array_equal(confusion_matrix(TRUTH, PREDICTION, 3), [[1, 1, 0, 0], [1, 2, 0, 0], [0, 0, 3, 0]])


def test_rows_are_truth_and_columns_prediction():
    one = np.ones((1, 1), np.uint8)
    np.testing.assert_array_equal(confusion_matrix(0 * one, one, 2), [[0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("nothing", [2, 7, 255])
def test_a_prediction_of_no_class_only_misses(nothing):
    truth, prediction = np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, nothing, 1, nothing]], np.uint8)
    matrix = confusion_matrix(truth, prediction, 2)
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [0, 1, 0]])
    scores = scores_from_confusion(matrix, ("a", "b"))
    assert scores.iou == {"a": 0.5, "b": 1.0}
    assert scores.pixel_accuracy == pytest.approx(2 / 3)


def test_a_truth_beyond_the_classes_is_refused():
    with pytest.raises(ValueError, match="id 2, beyond its 2 classes"):
        confusion_matrix(TRUTH, PREDICTION, 2)


def test_scores_by_hand():
    scores = scores_from_confusion(np.array([[1, 1, 0], [1, 2, 0], [0, 0, 3]]), ("road", "car", "sky"))
    assert scores.iou == pytest.approx({"road": 1 / 3, "car": 2 / 4, "sky": 1.0})
    assert scores.miou == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert scores.pixel_accuracy == pytest.approx(6 / 8)
    assert scores.mean_accuracy == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert scores.frequency_weighted_iou == pytest.approx(2 / 8 * 1 / 3 + 3 / 8 * 1 / 2 + 3 / 8)
    assert scores.absent == ()
    assert scores.others == {}


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("classes", [1, 2, 5, 19])
def test_agrees_with_sklearn(classes):
    maps = [random_maps(seed, classes, shape) for seed, shape in enumerate([(3, 3), (16, 16), (5, 31)])]
    tally = Tally(classes)
    for truth, prediction in maps:
        tally.add(truth, prediction)
    truth, prediction = (np.concatenate([m[i][m[0] != 255] for m in maps]) for i in (0, 1))
    expected = sklearn.metrics.confusion_matrix(truth, prediction, labels=range(classes))
    np.testing.assert_array_equal(tally.matrix[:, :-1], expected)
    assert not tally.matrix[:, -1].any()
    scores = tally.scores([f"class {i}" for i in range(classes)])
    jaccard = sklearn.metrics.jaccard_score(truth, prediction, average=None)
    np.testing.assert_allclose(list(scores.iou.values()), jaccard)
    assert scores.miou == pytest.approx(sklearn.metrics.jaccard_score(truth, prediction, average="macro"))
    assert scores.pixel_accuracy == pytest.approx(sklearn.metrics.accuracy_score(truth, prediction))
    assert scores.mean_accuracy == pytest.approx(sklearn.metrics.recall_score(truth, prediction, average="macro"))
    weighted = sklearn.metrics.jaccard_score(truth, prediction, average="weighted")
    assert scores.frequency_weighted_iou == pytest.approx(weighted)


def test_picture_after_picture_is_all_at_once():
    maps = [random_maps(seed, 4, (8, 8)) for seed in range(5)]
    maps.append((np.full((8, 8), 255, np.uint8), np.zeros((8, 8), np.uint8)))  # nothing labelled: changes nothing
    tally = Tally(4, pictures=True)
    for truth, prediction in maps:
        tally.add(truth, prediction)
    at_once = confusion_matrix(*(np.concatenate([m[i] for m in maps]) for i in (0, 1)), 4)
    np.testing.assert_array_equal(tally.matrix, at_once)
    together = tally.pictures.sum(axis=0)
    np.testing.assert_array_equal(together, [at_once.sum(1), at_once.sum(0)[:4], np.diag(at_once)])
    alone = [scores_from_confusion(confusion_matrix(*pair, 4), tuple("abcd")).miou for pair in maps[:5]]
    np.testing.assert_allclose(picture_miou(tally.pictures), [*alone, np.nan])


def test_counts_beyond_int32():
    matrix = np.diag([2**40, 1])
    assert scores_from_confusion(matrix, ("a", "b")).pixel_accuracy == 1
    tally = Tally(1)
    tally.matrix += 2**31
    tally.add(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8))
    assert tally.matrix[0, 0] == 2**31 + 1


# Class b is in neither, class c is only predicted.
ABSENT = np.array([[3, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("rule", "iou", "absent", "miou"),
    [
        (DEFAULT, {"a": 0.75, "c": 0.0}, ("b",), 0.375),
        (RULES["cityscapes"], {"a": 0.75, "c": 0.0}, ("b",), 0.375),
        (RULES["voc"], {"a": 0.75, "c": 0.0}, ("b",), 0.375),
        (RULES["bdd100k"], {"a": 0.75}, ("b", "c"), 0.75),
        (RULES["ade20k"], {"a": 0.75, "b": 0.0, "c": 0.0}, ("b",), 0.25),
    ],
)
def test_absent_classes_by_the_rule_of_each_scorer(rule, iou, absent, miou):
    scores = scores_from_confusion(ABSENT, ("a", "b", "c"), rule)
    assert scores.iou == iou
    assert scores.absent == absent
    assert scores.miou == pytest.approx(miou)
    assert scores.mean_accuracy == scores.pixel_accuracy == 0.75


def test_cityscapes_categories_by_hand():
    # road and sidewalk are one category: taking one for the other costs IoU of both but not of "flat". One pixel of
    # road is taken for a car, one of car for an ignored id (a miss of "vehicle", nobody's false positive).
    names = ("road", "sidewalk", "car")
    matrix = np.array([[4, 1, 1, 0], [2, 2, 0, 0], [0, 0, 5, 1]])
    scores = scores_from_confusion(matrix, names, RULES["cityscapes"])
    assert scores.iou == pytest.approx({"road": 4 / 8, "sidewalk": 2 / 5, "car": 5 / 7})
    assert scores.others == pytest.approx(
        {"category flat": 9 / 10, "category vehicle": 5 / 7, "category mIoU": (9 / 10 + 5 / 7) / 2}
    )


def test_every_data_set_has_a_rule():
    from rtseg_jax.data.registry import KNOWN

    named = {entry.info.rule for entry in KNOWN.values() if not callable(entry.info)}
    assert named <= RULES.keys()
    assert named >= RULES.keys() - {"plain"}


def test_categories_hold_every_class_of_cityscapes_once():
    from rtseg_jax.data import CITYSCAPES

    assert sorted(name for group in CITYSCAPES_GROUPS.values() for name in group) == sorted(CITYSCAPES.class_names)


def test_ade20k_by_hand():
    # Truth 0 0 0 1 (and an ignored pixel), predicted 0 1 nothing 1; a third class never occurs.
    matrix = np.array([[1, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]])
    scores = scores_from_confusion(matrix, ("wall", "sky", "flag"), RULES["ade20k"])
    assert scores.miou == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert scores.others["mIoU of the classes that occur"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert scores.others["challenge score"] == pytest.approx((scores.miou + 2 / 4) / 2)


@pytest.mark.skipif(SAMPLE is None, reason="the official sample is not there")
def test_the_official_sample_of_ade20k_has_its_published_score():
    tally = Tally(150)
    for path in sorted((SAMPLE / "annotations").glob("*.png")):
        truth, prediction = (
            np.asarray(Image.open(SAMPLE / folder / path.name)) - 1 for folder in ("annotations", "predictions")
        )
        tally.add(truth, prediction)
    scores = tally.scores([str(i) for i in range(150)], RULES["ade20k"])
    assert round(scores.miou, 4) == 0.1
    assert scores.pixel_accuracy == 1
    assert scores.others["mIoU of the classes that occur"] == 1


def test_nothing_labelled_is_an_error_for_people():
    tally = Tally(2)
    tally.add(np.full((3, 3), 255, np.uint8), np.zeros((3, 3), np.uint8))
    with pytest.raises(UserError, match="no labelled pixel"):
        tally.scores(("a", "b"))


def test_class_names_must_fit():
    with pytest.raises(ValueError, match="2 class names"):
        scores_from_confusion(np.eye(3, dtype=int), ("a", "b"))


def test_the_table_has_a_line_per_class():
    names = ("road", "sky", "traffic light")
    assert str(scores_from_confusion(ABSENT, names)).splitlines() == [
        "road                     75.00 %",
        "traffic light             0.00 %",
        "sky                     absent",
        "--------------------------------",
        "mIoU                     37.50 %  (2 classes)",
        "pixel accuracy           75.00 %",
        "mean accuracy            75.00 %",
        "frequency-weighted IoU   75.00 %",
    ]
    ade20k = str(scores_from_confusion(ABSENT, names, RULES["ade20k"])).splitlines()
    assert ade20k[2].split() == ["sky", "absent,", "counts", "as", "0"]
    assert ade20k[4].endswith("25.00 %  (3 classes)")
    assert ade20k[-1].split() == ["challenge", "score", "50.00", "%"]
