"""Parts of a source."""

import pytest

from rtseg_jax.data.subset import hold_out


class Numbers:
    """Examples that are their own index."""

    def __init__(self, number):
        self.number = number

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        return index


def of(source):
    return [source[index] for index in range(len(source))]


@pytest.mark.parametrize(
    ("number", "share", "expected"), [(11, 0.3, [0, 5, 10]), (10, 0.2, [0, 9]), (7, 0.01, [0]), (4, 0.5, [0, 3])]
)
def test_held_out_pictures_are_spread_over_all(number, share, expected):
    train, held = hold_out(Numbers(number), share)
    assert of(held) == expected
    assert of(train) == [index for index in range(number) if index not in expected]


@pytest.mark.parametrize(("number", "share"), [(10, 0.0), (1, 0.1)])
def test_where_nothing_can_be_held_out_both_are_the_whole(number, share):
    source = Numbers(number)
    assert hold_out(source, share) == (source, source)
