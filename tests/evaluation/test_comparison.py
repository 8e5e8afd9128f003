"""The interval of a difference: a case with four sets to draw, and what must hold of any."""

import numpy as np
import pytest

from rtseg_jax.evaluation.comparison import paired_difference
from rtseg_jax.evaluation.rules import DEFAULT, RULES
from rtseg_jax.evaluation.tally import Tally


def counts(*pictures):
    """Of pictures given as (truth, prediction) rows, two classes."""
    tally = Tally(2, pictures=True)
    for truth, prediction in pictures:
        tally.add(np.array([truth], np.uint8), np.array([prediction], np.uint8))
    return tally.pictures


def test_two_pictures_have_three_sets():
    # Picture 1: the first is right, the second swaps both classes (mIoU 1 and 0). Picture 2: both are right.
    # Sets (1 1), (1 2 or 2 1), (2 2) come with ¼, ½, ¼. In the mixed one the second has 1 right of 3 in either class.
    first = counts(([0, 1], [0, 1]), ([0, 1], [0, 1]))
    second = counts(([0, 1], [1, 0]), ([0, 1], [0, 1]))
    found = paired_difference(first, second, resamples=4000)
    assert found.value == pytest.approx(2 / 3)
    assert (found.low, found.high) == (0, 1)  # each end has a quarter, more than the 2.5 % cut off
    assert found.first_better == pytest.approx(0.75 + 0.25 / 2, abs=0.03)
    narrow = paired_difference(first, second, resamples=4000, confidence=0.4)  # from 30 % to 70 %: the mixed sets
    assert (narrow.low, narrow.high) == pytest.approx((2 / 3, 2 / 3))


def test_a_difference_turns_round_and_is_seeded():
    random = np.random.default_rng(0)
    pictures = [(random.integers(0, 2, 30), random.integers(0, 2, (2, 30))) for _ in range(12)]
    first, second = (counts(*((truth, guesses[i]) for truth, guesses in pictures)) for i in (0, 1))
    there, back = paired_difference(first, second, seed=3), paired_difference(second, first, seed=3)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert there.first_better + back.first_better == pytest.approx(1)
    assert there == paired_difference(first, second, seed=3) != paired_difference(first, second, seed=4)
    assert there.low < there.value < there.high


def test_a_model_is_as_good_as_itself():
    same = counts(([0, 1, 1], [0, 0, 1]), ([0, 1, 255], [1, 1, 1]))
    found = paired_difference(same, same)
    assert (found.value, found.low, found.high, found.first_better) == (0, 0, 0, 0.5)


@pytest.mark.parametrize(("rule", "expected"), [(DEFAULT, 0.5), (RULES["bdd100k"], 0.5), (RULES["ade20k"], 0.25)])
def test_each_drawn_set_is_averaged_by_the_rule(rule, expected):
    # One picture of class 0 alone: half right (the rest is no class) against nothing right.
    truth = [0, 0]
    found = paired_difference(counts((truth, [0, 9])), counts((truth, [9, 9])), rule, resamples=10)
    assert (found.value, found.low, found.high) == (expected, expected, expected)


def test_pictures_without_a_label_make_no_set_of_their_own():
    pair = (([0, 1], [0, 1]), ([255, 255], [0, 0]))
    wrong = (([0, 1], [1, 0]), ([255, 255], [0, 0]))
    found = paired_difference(counts(*pair), counts(*wrong))
    assert (found.value, found.low, found.high, found.first_better) == (1, 1, 1, 1)
