"""Parts of a source."""

import pytest

from rtseg_jax.data.subset import hold_out


@pytest.mark.parametrize(
    ("number", "share", "expected"), [(11, 0.3, [0, 5, 10]), (10, 0.2, [0, 9]), (7, 0.01, [0]), (4, 0.5, [0, 3])]
)
def test_held_out_pictures_are_spread_over_all(number, share, expected):
    train, held = hold_out(range(number), share)
    assert list(held) == expected
    assert list(train) == [index for index in range(number) if index not in expected]


@pytest.mark.parametrize(("number", "share"), [(10, 0.0), (1, 0.1)])
def test_where_nothing_can_be_held_out_both_are_the_whole(number, share):
    source = range(number)
    assert hold_out(source, share) == (source, source)
