"""What is kept in memory, and how much of it."""

import numpy as np
import pytest

from rtseg_jax.data.caching import CachedSource


class Counting:
    """Pictures of 2 × 3, 24 bytes with their label, that count how often they are made."""

    def __init__(self):
        self.reads = 0

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.reads += 1
        return {"image": np.full((2, 3, 3), index, np.uint8), "label": np.full((2, 3), index, np.uint8)}


def test_reads_each_example_once():
    source = Counting()
    cached = CachedSource(source)
    assert len(cached) == 3
    assert [int(cached[i]["label"][0, 0]) for i in (0, 1, 0, 2, 1)] == [0, 1, 0, 2, 1]
    assert source.reads == 3


@pytest.mark.parametrize(("max_bytes", "reads"), [(0, 6), (23, 6), (24, 5), (71, 4), (72, 3)])
def test_memory_is_bounded(max_bytes, reads):
    source = Counting()
    cached = CachedSource(source, max_bytes)
    for index in (0, 1, 2, 0, 1, 2):
        assert cached[index]["image"][0, 0, 0] == index
    assert source.reads == reads


def test_kept_arrays_cannot_be_changed():
    example = CachedSource(Counting())[1]
    for array in (example["image"], example["label"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 3
