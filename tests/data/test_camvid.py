"""CamVid folders: what is read, and one line for everything that can be wrong with them."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg_jax.data import CAMVID, DataSpec, build_dataset, check_source, evaluation_batches
from rtseg_jax.data.camvid import decode_label
from rtseg_jax.errors import UserError

REAL = Path(os.environ.get("RTSEG_CAMVID", Path(__file__).parents[2] / "../shared/data/camvid"))


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """Two training and one validation picture of 5 × 7."""
    for split, names in (("train", ("a", "b")), ("val", ("c",))):
        for number, name in enumerate(names):
            write(tmp_path / split / f"{name}.png", np.full((5, 7, 3), 40 + number))
            write(tmp_path / f"{split}annot" / f"{name}.png", np.full((5, 7), number))
    return tmp_path


def build(root):
    return build_dataset(DataSpec("camvid", data_dir=str(root)))


def error_of(action):
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reads_both_splits_by_name_with_void_as_ignore(root):
    write(root / "trainannot/b.png", [[0, 10, 11, 255, 1, 2, 3]] * 5)
    dataset = build(root)
    assert dataset.info is CAMVID
    assert (len(dataset.train), len(dataset.validation)) == (2, 1)
    np.testing.assert_array_equal(dataset.train[1]["label"][0], [0, 10, 255, 255, 1, 2, 3])
    assert (dataset.train[1]["image"] == 41).all()
    assert dataset.train[1]["image"].shape == (5, 7, 3)


def test_list_files_pick_and_order_the_pictures(root):
    (root / "train.txt").write_text("/SegNet/train/b.png /SegNet/trainannot/b.png\n\n")
    train = build(root).train
    assert len(train) == 1
    assert (train[0]["image"] == 41).all()


def test_no_data_dir():
    assert "camvid needs data_dir" in error_of(lambda: build_dataset(DataSpec("camvid")))


def test_missing_and_empty_folders(root, tmp_path):
    missing = tmp_path / "nowhere"
    assert error_of(lambda: build(missing)).startswith(f"{missing / 'train'} is not a folder")
    (root / "valannot/c.png").unlink()
    assert error_of(lambda: build(root)).startswith(f"{root / 'valannot'} holds no .png files")


@pytest.mark.parametrize(("gone", "other"), [("trainannot/b.png", "train/b.png"), ("train/a.png", "trainannot/a.png")])
@pytest.mark.parametrize("listed", [True, False])
def test_pictures_without_their_other_half(root, gone, other, listed):
    if listed:
        (root / "train.txt").write_text("x/a.png y/a.png\nx/b.png y/b.png\n")
    (root / gone).unlink()
    message = error_of(lambda: build(root))
    assert message.startswith(f"{root / gone} is missing")
    assert other in message


def test_an_empty_list(root):
    (root / "val.txt").write_text("\n")
    assert error_of(lambda: build(root)).startswith(f"{root / 'val.txt'} lists no pictures")


def test_sizes_that_differ(root):
    write(root / "trainannot/b.png", np.zeros((6, 7)))
    message = error_of(lambda: build(root))
    assert message.startswith(f"{root / 'trainannot/b.png'} is 6x7")
    assert "picture is 5x7" in message


def test_ids_outside_the_classes(root):
    write(root / "trainannot/b.png", [[0, 0, 0, 0, 0, 0, 12]] * 5)
    train = build(root).train
    assert error_of(lambda: train[1]).startswith(f"{root / 'trainannot/b.png'} has the id 12")
    assert "id 12" in error_of(lambda: check_source(train, CAMVID))


def test_a_label_in_colour(root):
    write(root / "trainannot/b.png", np.zeros((5, 7, 3)))
    assert "b.png is not a label" in error_of(lambda: build(root).train[1])
    with pytest.raises(UserError, match="uint16"):
        decode_label(np.zeros((2, 2), np.uint16), Path("x.png"))


@pytest.mark.parametrize("name", ["train/b.png", "trainannot/b.png"])
def test_truncated_pictures(root, name):
    noise = np.random.default_rng(0).integers(0, 10, (5, 7, 3) if name.startswith("train/") else (5, 7))
    write(root / name, noise)
    data = (root / name).read_bytes()
    (root / name).write_bytes(data[: len(data) - 30])
    train = build(root).train
    assert error_of(lambda: check_source(train, CAMVID)).startswith(f"{root / name} is truncated or damaged")


def test_a_file_that_is_no_picture(root):
    (root / "train/b.png").write_text("404: not found")
    assert error_of(lambda: build(root)).startswith(f"{root / 'train/b.png'} is not a readable picture")


def test_check_source_finds_a_class_or_size_that_a_source_lets_through():
    class Wrong:
        def __init__(self, label):
            self._label = label

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return {"image": np.zeros((2, 2, 3), np.uint8), "label": self._label}

    check_source(Wrong(np.full((2, 2), 255, np.uint8)), CAMVID)
    assert "id 11 is outside its 11 classes" in error_of(
        lambda: check_source(Wrong(np.full((2, 2), 11, np.uint8)), CAMVID)
    )
    assert "(2, 2) and label (2, 3) differ" in error_of(lambda: check_source(Wrong(np.zeros((2, 3), np.uint8)), CAMVID))


@pytest.mark.skipif(not REAL.is_dir(), reason="CamVid is not here; set RTSEG_CAMVID")
def test_the_real_thing():
    dataset = build(REAL)
    assert (len(dataset.train), len(dataset.validation)) == (367, 101)
    example = dataset.train[0]
    assert example["image"].shape == (360, 480, 3)
    assert set(np.unique(example["label"])) <= {*range(11), 255}
    counts = sum(np.bincount(dataset.train[i]["label"].ravel(), minlength=256) for i in range(0, 367, 37))
    assert 0.2 < counts[3] / counts.sum() < 0.42  # road: .3166 of all training pixels
    spec = DataSpec("camvid", eval_size=(96, 128))
    batch = next(evaluation_batches(dataset.validation, spec, 2, num_threads=0))
    assert batch["image"].shape == (2, 96, 128, 3)
    assert [label.shape for label in batch["label"]] == [(360, 480)] * 2
