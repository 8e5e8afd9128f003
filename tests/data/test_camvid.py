"""CamVid: SegNet's copy and the original, what is read, and one line for everything that can be wrong with them."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg_jax.data import CAMVID, DataSpec, build_dataset, build_split, check_source, evaluation_batches
from rtseg_jax.data.camvid import segnet_split
from rtseg_jax.errors import UserError

REAL = Path(os.environ.get("RTSEG_CAMVID", Path(__file__).parents[2] / "../shared/data/camvid"))
FIXTURES = Path(os.environ.get("RTSEG_FIXTURES", Path(__file__).parents[2] / "../shared/data/fixtures"))


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """SegNet's copy: two training and one validation picture of 5 × 7."""
    for split, names in (("train", ("a", "b")), ("val", ("c",))):
        for number, name in enumerate(names):
            write(tmp_path / split / f"{name}.png", np.full((5, 7, 3), 40 + number))
            write(tmp_path / f"{split}annot" / f"{name}.png", np.full((5, 7), number))
    return tmp_path


def spec_of(root, **fields):
    return DataSpec("camvid", data_dir=str(root), **fields)


def build(root, **fields):
    return build_dataset(spec_of(root, **fields))


def error_of(action):
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reads_both_splits_by_name_with_void_as_ignore(root):
    write(root / "trainannot/b.png", [[0, 10, 11, 255, 1, 2, 3]] * 5)
    dataset = build(root)
    assert dataset.info == CAMVID
    assert (len(dataset.train), len(dataset.validation)) == (2, 1)
    np.testing.assert_array_equal(dataset.train[1]["label"][0], [0, 10, 255, 255, 1, 2, 3])
    assert (dataset.train[1]["image"] == 41).all()
    assert dataset.train[1]["image"].shape == (5, 7, 3)
    assert dataset.train.describe(1).image == str(root / "train/b.png")
    assert dataset.train.describe(1).label == str(root / "trainannot/b.png")


def test_list_files_pick_and_order_the_pictures(root):
    write(root / "train/my b.png", np.full((5, 7, 3), 7))
    write(root / "trainannot/my b.png", np.full((5, 7), 3))
    (root / "train.txt").write_text(
        "/SegNet/CamVid/train/b.png /SegNet/CamVid/trainannot/b.png\n\n"
        "/SegNet/train/my b.png /SegNet/trainannot/my b.png\na.png\n"
    )
    train = build(root).train
    assert [int(train[i]["image"][0, 0, 0]) for i in range(3)] == [41, 7, 40]
    assert [int(train[i]["label"][0, 0]) for i in range(3)] == [1, 3, 0]
    assert [train.describe(i).name for i in range(3)] == ["b", "my b", "a"]


def test_the_original_with_32_colours_is_grouped_and_divided_by_the_names_of_the_frames(tmp_path):
    # one of each group: Sky, Tunnel, TrafficCone, LaneMkgsNonDriv, ParkingBlock, VegetationMisc, TrafficLight, Fence,
    # Truck_Bus, Animal, MotorcycleScooter, Void; in the order of the 11 classes
    colours = [
        (128, 128, 128), (64, 0, 64), (0, 0, 64), (192, 0, 64), (64, 192, 128), (192, 192, 0), (0, 64, 64),
        (64, 64, 128), (192, 128, 192), (64, 128, 64), (192, 0, 192), (0, 0, 0),
    ]  # fmt: skip
    frames = ("0001TP_006690", "0001TP_008550", "0006R0_f00930", "0016E5_07959", "0016E5_07960", "Seq05VD_f00000")
    for number, frame in enumerate(frames):
        write(tmp_path / "701_StillsRaw_full" / f"{frame}.png", np.full((2, 12, 3), number))
        write(tmp_path / "LabeledApproved_full" / f"{frame}_L.png", [colours] * 2)
    train, validation, test = (build_split(spec_of(tmp_path), split) for split in ("train", "validation", "test"))
    assert [train.describe(i).name for i in range(len(train))] == [frames[0], frames[2], frames[4]]
    assert [validation.describe(i).name for i in range(len(validation))] == [frames[3]]
    assert [test.describe(i).name for i in range(len(test))] == [frames[1], frames[5]]
    np.testing.assert_array_equal(train[0]["label"][0], [*range(11), 255])
    assert (test[1]["image"] == 5).all()
    (tmp_path / "val.txt").write_text("/SegNet/CamVid/val/0006R0_f00930.png /SegNet/CamVid/valannot/0006R0_f00930.png")
    assert build_split(spec_of(tmp_path), "validation").describe(0).name == "0006R0_f00930"


def test_train_and_validation_together_are_scored_on_test(root):
    write(root / "test/d.png", np.full((5, 7, 3), 9))
    write(root / "testannot/d.png", np.full((5, 7), 8))
    dataset = build(root, train_split="train+validation", validation_split="test")
    assert [int(dataset.train[i]["image"][0, 0, 0]) for i in range(3)] == [40, 41, 40]
    assert (dataset.validation[0]["label"] == 8).all()
    assert "both name 'train'" in error_of(lambda: build(root, validation_split="train"))
    assert "no split 'vali'" in error_of(lambda: build(root, validation_split="vali"))


def test_no_data_dir():
    assert "camvid needs --config.data.data_dir" in error_of(lambda: build_dataset(DataSpec("camvid")))


def test_missing_and_empty_folders(root, tmp_path):
    missing = tmp_path / "nowhere"
    assert error_of(lambda: build(missing)).startswith(f"{missing} is not there")
    (root / "valannot/c.png").unlink()
    assert error_of(lambda: build(root)).startswith(f"{root / 'valannot'} holds no .png files")
    (tmp_path / "other").mkdir()
    assert "holds no CamVid" in error_of(lambda: build(tmp_path / "other"))


@pytest.mark.parametrize(
    ("gone", "alone", "tried"),
    [("trainannot/b.png", "train/b.png", "trainannot/NAME.png"), ("train/a.png", "trainannot/a.png", "train/NAME.png")],
)
def test_pictures_without_their_other_half(root, gone, alone, tried):
    (root / gone).unlink()
    message = error_of(lambda: build(root))
    assert message.startswith(f"{root / alone} is a")
    assert f"looked for as {tried}" in message


@pytest.mark.parametrize("gone", ["trainannot/b.png", "train/a.png"])
def test_listed_pictures_without_their_other_half(root, gone):
    (root / "train.txt").write_text("x/train/a.png x/trainannot/a.png\nx/train/b.png x/trainannot/b.png\n")
    (root / gone).unlink()
    message = error_of(lambda: build(root))
    assert message.startswith(f"{root / gone} is missing; line {1 + gone.count('b.')} of {root / 'train.txt'}")


def test_an_empty_list(root):
    (root / "val.txt").write_text("\n")
    assert error_of(lambda: build(root)).startswith(f"{root / 'val.txt'} lists no pictures")


def test_sizes_that_differ(root):
    write(root / "trainannot/b.png", np.zeros((6, 7)))
    message = error_of(lambda: check_source(build(root).train, CAMVID))
    assert message.startswith(f"{root / 'trainannot/b.png'} is 6x7")
    assert f"picture {root / 'train/b.png'} is 5x7" in message


def test_ids_outside_the_classes(root):
    write(root / "trainannot/b.png", [[0, 0, 0, 0, 0, 12, 12]] * 5)
    message = error_of(lambda: check_source(build(root).train, CAMVID))
    assert message.startswith(f"{root / 'trainannot/b.png'} has the id 12 in 10 pixels")
    assert "--config.data.ids=12=ignore" in message
    label = build(root, ids="12=Road").train[1]["label"]
    np.testing.assert_array_equal(label[0], [0, 0, 0, 0, 0, 3, 3])


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the fixtures are not here; set RTSEG_FIXTURES")
def test_a_copy_with_lists_of_no_prefix_and_labels_in_colours():
    root = FIXTURES / "datumaro_assets/camvid_dataset"
    # Bicyclist, Road; Animal, Child; Animal, Road, Sky and Bridge, Tree, Archway
    expected = {"train": {3, 10}, "validation": {9}, "test": {0, 1, 3, 5, 9}}
    for split, classes in expected.items():
        source = build_split(spec_of(root), split)
        assert {int(index) for i in range(len(source)) for index in np.unique(source[i]["label"])} == classes
        assert len(source) == (2 if split == "test" else 1)


@pytest.mark.skipif(not REAL.is_dir(), reason="CamVid is not here; set RTSEG_CAMVID")
def test_the_real_thing():
    dataset = build(REAL)
    assert (len(dataset.train), len(dataset.validation)) == (367, 101)
    example = dataset.train[0]
    assert example["image"].shape == (360, 480, 3)
    assert set(np.unique(example["label"])) <= {*range(11), 255}
    counts = sum(np.bincount(dataset.train[i]["label"].ravel(), minlength=256) for i in range(0, 367, 37))
    assert 0.2 < counts[3] / counts.sum() < 0.42  # road: .3166 of all training pixels
    for split, source in (("train", dataset.train), ("validation", dataset.validation)):
        assert {segnet_split(source.describe(i).name) for i in range(len(source))} == {split}
    spec = DataSpec("camvid", eval_size=(96, 128))
    batch = next(evaluation_batches(dataset.validation, spec, 2, num_threads=0))
    assert batch["image"].shape == (2, 96, 128, 3)
    assert [label.shape for label in batch["label"]] == [(360, 480)] * 2
