"""What is kept in memory, and how much of it."""

import numpy as np
import pytest

from rtseg_jax.data.caching import CachedSource, PreparedSource, kept_in_memory
from rtseg_jax.data.dataset import Dataset, DatasetInfo, DataSpec
from rtseg_jax.errors import UserError


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


def test_training_pictures_are_kept_at_the_base_size_and_validation_pictures_as_they_are():
    info = DatasetInfo("numbers", ("a", "b", "c"), ((0, 0, 0),) * 3)
    train, validation = Counting(), Counting()
    spec = DataSpec("numbers", base_size=(1, 2), cache_gib=(24 + 8) / 2**30)
    dataset = kept_in_memory(Dataset(info, CachedSource(train), CachedSource(validation)), spec)
    for split in (dataset.train, dataset.validation):
        assert [int(split[i]["label"][0, 0]) for i in (0, 1, 2, 0, 1, 2)] == [0, 1, 2, 0, 1, 2]
    assert dataset.train[0]["image"].shape == (1, 2, 3)
    assert dataset.validation[0]["image"].shape == (2, 3, 3)
    # Of 8 bytes all fit in 32; of 24 bytes one does.
    assert (train.reads, validation.reads) == (3, 5)


def test_a_picture_and_a_label_of_two_sizes_are_refused_before_they_are_made_alike():
    class Ragged(Counting):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "label": np.zeros((3, 3), np.uint8)}

    with pytest.raises(UserError, match=r"numbers, example 1: picture \(2, 3\) and label \(3, 3\) differ"):
        PreparedSource(Ragged(), DataSpec("numbers", base_size=(1, 2)))[1]


def test_workers_share_the_room():
    source = CachedSource(Counting(), 72).divided(2)
    assert source.max_bytes == 36
