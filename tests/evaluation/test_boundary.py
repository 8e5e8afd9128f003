"""Boundary IoU: against the published procedure, one mask after the other, and by hand."""

import cv2
import numpy as np
import pytest

from rtseg_jax.evaluation.boundary import band_width, boundary_band, boundary_counts
from rtseg_jax.evaluation.tally import Tally


def eroded_band(mask, width):
    """As the paper describes it: the mask less its erosion, outside the picture counts as outside the mask."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask & ~eroded.astype(bool)


def blobs(seed, shape, classes=4):
    small = np.random.default_rng(seed).integers(0, classes, (6, 8)).astype(np.uint8)
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_all_classes_at_once_are_the_masks_one_by_one(width):
    labels = blobs(0, (90, 120))
    expected = np.zeros(labels.shape, bool)
    for label in range(4):
        expected |= eroded_band(labels == label, width)
    np.testing.assert_array_equal(boundary_band(labels, width), expected)
    assert 0.1 < expected.mean() < 1


def test_the_band_is_two_hundredths_of_the_diagonal():
    assert band_width((1024, 2048)) == 46  # 45.8
    assert band_width((480, 640)) == 16
    assert band_width((3, 4)) == 1


def test_counts_are_those_of_masks():
    truth, prediction = blobs(1, (60, 80)), blobs(2, (60, 80))
    counts, width = boundary_counts(truth, prediction, 4), 2
    assert band_width(truth.shape) == width
    for label in range(4):
        a, b = eroded_band(truth == label, width), eroded_band(prediction == label, width)
        assert counts[:, label].tolist() == [a.sum(), b.sum(), (a & b).sum()]


def test_by_hand():
    # 6 × 6, band 1: the outer ring of 20 and the columns at the contour. The prediction's contour is a column further.
    truth, prediction = np.zeros((2, 6, 6), np.uint8)
    truth[:, 3:] = prediction[:, 4:] = 1
    # Class 0 of the truth: columns 0 to 2, all but rows 1 to 4 of column 1; predicted: columns 0 to 3, but 4 × 2.
    # Class 1: columns 3 to 5, all but 4; predicted: two columns, all of them.
    # Both: class 0 rows 0 and 5 of columns 0 to 2 and the rest of column 0: 10; class 1: columns 4, 5 without 4: 8.
    np.testing.assert_array_equal(boundary_counts(truth, prediction, 2), [[14, 14], [16, 12], [10, 8]])
    tally = Tally(2, boundary=True)
    tally.add(truth, prediction)
    mean, iou = tally.boundary_iou(("a", "b"))
    assert iou == pytest.approx({"a": 10 / 20, "b": 8 / 18})
    assert mean == pytest.approx((10 / 20 + 8 / 18) / 2)


def test_a_right_prediction_scores_1_beside_ignored_pixels():
    truth = blobs(3, (30, 40))
    prediction = truth.copy()
    truth[10:20, 10:30] = 255
    prediction[10:20, 10:30] = 0
    tally = Tally(4, boundary=True)
    tally.add(truth, prediction)
    assert tally.boundary_iou(tuple("abcd"))[0] == 1
