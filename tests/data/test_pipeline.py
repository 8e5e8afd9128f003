"""Batches: resumption, processes, ragged ends, and what importing this room pulls in."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from batches import assert_same, take

from rtseg_jax.data import DataSpec, evaluation_batches, training_batches
from rtseg_jax.data.augmentation import apply
from rtseg_jax.errors import UserError

SPEC = DataSpec("camvid", train_size=(9, 14), eval_size=(6, 8), brightness=0.3, contrast=0.2, saturation=0.1)


class Numbers:
    """Pictures that say in every pixel which one they are."""

    def __init__(self, sizes):
        self._sizes = sizes

    def __len__(self):
        return len(self._sizes)

    def __getitem__(self, index):
        height, width = self._sizes[index]
        return {
            "image": np.full((height, width, 3), 10 * index, np.uint8),
            "label": np.full((height, width), index, np.uint8),
        }


class Noise(Numbers):
    """Pictures in which each pixel differs."""

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 256, (*self._sizes[index], 3), dtype=np.uint8)
        return {"image": image, "label": image[..., 0] % 11}


SOURCE = Noise([(13, 17)] * 5)


def test_a_training_batch_has_the_crop_size_and_is_uint8():
    (batch,) = take(training_batches(SOURCE, SPEC, 3, seed=0), 1)
    assert batch["image"].shape == (3, 9, 14, 3)
    assert batch["label"].shape == (3, 9, 14)
    assert batch["image"].dtype == batch["label"].dtype == np.uint8


def test_same_seed_same_bits_and_other_seed_other_bits():
    first, again, other = (take(training_batches(SOURCE, SPEC, 2, seed=seed), 4) for seed in (7, 7, 8))
    assert_same(first, again)
    assert any((a["image"] != b["image"]).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("start", [1, 4, 11])
def test_starting_at_a_step_equals_having_consumed_the_steps_before(start):
    whole = take(training_batches(SOURCE, SPEC, 2, seed=1), start + 3)
    assert_same(whole[start:], take(training_batches(SOURCE, SPEC, 2, seed=1, start_step=start), 3))


def test_threads_do_not_change_the_batches():
    none, many = (take(training_batches(SOURCE, SPEC, 2, seed=1, num_threads=n), 6) for n in (0, 3))
    assert_same(none, many)


def test_device_and_host_are_given_the_same_draws():
    spec = dataclasses.replace(SPEC, base_size=(11, 15), scale_range=(0.5, 2.0))
    host = take(training_batches(SOURCE, spec, 4, seed=1, start_step=2), 2)
    raw = take(training_batches(SOURCE, dataclasses.replace(spec, augment_on="device"), 4, seed=1, start_step=2), 2)
    for wanted, batch in zip(host, raw, strict=True):
        assert batch["image"].shape == (4, 11, 15, 3)
        examples = zip(batch["image"], batch["label"], batch["augmentation"], strict=True)
        applied = [apply({"image": image, "label": label}, drawn, (9, 14)) for image, label, drawn in examples]
        for name in wanted:
            np.testing.assert_array_equal(wanted[name], np.stack([example[name] for example in applied]))


def test_pictures_of_two_sizes_cannot_be_augmented_on_the_device_unless_brought_to_one():
    source = Noise([(13, 17), (17, 13)])
    spec = dataclasses.replace(SPEC, augment_on="device")
    with pytest.raises(UserError, match=r"one picture is 13x17 \(height x width\) and another 17x13.*base_size"):
        next(training_batches(source, spec, 2, seed=0))
    (batch,) = take(training_batches(source, dataclasses.replace(spec, base_size=(8, 8)), 2, seed=0), 1)
    assert batch["label"].shape == (2, 8, 8)


@pytest.mark.parametrize("start", [0, 3])
def test_slices_of_all_processes_are_the_batch_of_one(start):
    whole = take(training_batches(SOURCE, SPEC, 6, seed=2, start_step=start), 4)
    shards = [
        take(training_batches(SOURCE, SPEC, 6, seed=2, start_step=start, shard_index=i, shard_count=3), 4)
        for i in range(3)
    ]
    joined = [{k: np.concatenate([s[k] for s in step]) for k in step[0]} for step in zip(*shards, strict=True)]
    assert_same(whole, joined)


def test_each_epoch_reads_every_picture_once_in_a_new_order():
    spec = DataSpec("camvid", train_size=(4, 4), scales=(1.0,), flip=False)
    batches = take(training_batches(Numbers([(4, 4)] * 6), spec, 2, seed=0), 12)
    seen = np.concatenate([batch["label"][:, 0, 0] for batch in batches]).reshape(4, 6)
    assert (np.sort(seen, axis=1) == np.arange(6)).all()
    assert len({tuple(epoch) for epoch in seen.tolist()}) > 1


def test_the_same_picture_is_augmented_anew_each_time():
    spec = DataSpec("camvid", train_size=(9, 9))
    batches = take(training_batches(Noise([(20, 20)]), spec, 1, seed=0), 6)
    assert len({batch["image"].tobytes() for batch in batches}) > 3


def test_evaluation_reads_in_order_and_fills_up_the_last_batch():
    batches = list(evaluation_batches(Numbers([(5, 7)] * 5), SPEC, 2))
    assert [batch["valid"].tolist() for batch in batches] == [[True, True], [True, True], [True, False]]
    assert [[label[0, 0] for label in batch["label"]] for batch in batches] == [[0, 1], [2, 3], [4, 255]]
    assert (batches[2]["label"][1] == 255).all()
    assert {batch["image"].shape for batch in batches} == {(2, 6, 8, 3)}
    assert {label.shape for batch in batches for label in batch["label"]} == {(5, 7)}


def test_evaluation_resizes_the_image_only():
    batch = next(evaluation_batches(Noise([(12, 16)]), SPEC, 1))
    source = Noise([(12, 16)])[0]
    average = source["image"].reshape(6, 2, 8, 2, 3).mean(axis=(1, 3))
    assert np.abs(batch["image"][0] - average).max() <= 0.5
    np.testing.assert_array_equal(batch["label"][0], source["label"])


def test_processes_share_out_evaluation_even_past_the_end():
    source = Numbers([(5, 7)] * 5)
    whole = list(evaluation_batches(source, SPEC, 4))
    shards = [list(evaluation_batches(source, SPEC, 4, shard_index=i, shard_count=2)) for i in range(2)]
    joined = [{k: np.concatenate([s[k] for s in step]) for k in step[0]} for step in zip(*shards, strict=True)]
    assert_same(whole, joined)
    assert not shards[1][1]["valid"].any()


def test_pictures_of_different_sizes_share_a_batch_and_keep_their_labels():
    spec = DataSpec("camvid", eval_size=(4, 6))
    batch = next(evaluation_batches(Numbers([(2, 6), (4, 3)]), spec, 2))
    np.testing.assert_array_equal(batch["label"][0], [[0] * 6] * 2)
    np.testing.assert_array_equal(batch["label"][1], [[1] * 3] * 4)
    np.testing.assert_array_equal(batch["image"][..., 0], [[[0] * 6] * 4, [[10] * 6] * 4])


@pytest.mark.parametrize("batches", [lambda *a, **k: training_batches(*a, seed=0, **k), evaluation_batches])
def test_impossible_requests_say_what_to_do(batches):
    with pytest.raises(UserError, match="batch_size 7 does not divide among 2 processes"):
        batches(SOURCE, SPEC, 7, shard_count=2)
    with pytest.raises(UserError, match="batch_size 0"):
        batches(SOURCE, SPEC, 0)
    with pytest.raises(UserError, match="holds no pictures"):
        batches(Noise([]), SPEC, 2)
    with pytest.raises(ValueError, match="shard_index 2"):
        batches(SOURCE, SPEC, 2, shard_index=2, shard_count=2)


def test_an_error_of_the_source_reaches_the_reader():
    class Broken(Numbers):
        def __getitem__(self, index):
            raise UserError("picture 3 is damaged")

    with pytest.raises(UserError, match="picture 3 is damaged"):
        next(training_batches(Broken([(4, 4)]), SPEC, 1, seed=0))


def test_importing_the_room_does_not_import_tensorflow():
    code = "import sys, rtseg_jax.data; sys.exit(any(name.split('.')[0] == 'tensorflow' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
