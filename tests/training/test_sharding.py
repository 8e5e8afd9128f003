"""Batches on their way to the devices."""

import itertools

import jax
import numpy as np

from rtseg_jax.training.sharding import data_mesh, on_device, split


def counting(read, closed):
    try:
        for number in itertools.count():
            read.append(number)
            yield {"image": np.full((2, 3), number)}
    finally:
        closed.append(True)


def test_the_next_batch_is_on_its_way_while_one_is_used():
    read, closed = [], []
    batches = on_device(counting(read, closed), data_mesh(), 3)
    assert int(next(batches)["image"][0, 0]) == 0
    assert read == [0, 1]
    assert [int(batch["image"][1, 2]) for batch in batches] == [1, 2]
    assert read == [0, 1, 2]  # none is read beyond those that are used
    assert closed


def test_batches_are_split_and_not_changed():
    mesh = data_mesh()
    (batch,) = on_device(iter([{"image": np.arange(8).reshape(4, 2)}]), mesh, 1)
    assert batch["image"].sharding == split(mesh)
    np.testing.assert_array_equal(jax.device_get(batch["image"]), np.arange(8).reshape(4, 2))


def test_an_interrupted_loop_closes_what_it_reads_from():
    read, closed = [], []
    batches = on_device(counting(read, closed), data_mesh(), 100)
    next(batches)
    batches.close()
    assert closed
