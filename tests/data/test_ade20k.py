"""ADE20K in 150 classes: 0 is ignored; the full set and the instance set are refused."""

import shutil

import numpy as np
import pytest
from layouts import FIXTURES, contents, needs_fixtures, picture, shipped_config, split_of, write, zipped
from PIL import Image

from rtseg_jax.config import data_spec
from rtseg_jax.data import build_dataset, training_batches
from rtseg_jax.errors import UserError

SIZES = {"ADE_train_00000001": (2, 3), "ADE_train_00000002": (3, 2)}
ANNOTATION, CLASSES = [[0, 1, 150], [13, 2, 0]], [[255, 0, 149], [12, 1, 255]]


@pytest.fixture
def root(tmp_path):
    top = tmp_path / "ADEChallengeData2016"
    for grey, (name, size) in enumerate(SIZES.items()):
        picture(top / f"images/training/{name}.jpg", grey, size)
        write(top / f"annotations/training/{name}.png", np.array(ANNOTATION, np.uint8).reshape(size))
    picture(top / "images/validation/ADE_val_00000001.jpg", 9)
    write(top / "annotations/validation/ADE_val_00000001.png", np.array(ANNOTATION, np.uint8))
    (top / "objectInfo150.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize("inside", ["", "ADEChallengeData2016"])
def test_folders(root, inside):
    turned = np.array(CLASSES).reshape(3, 2).tolist()
    expected = {"ADE_train_00000001": (0, CLASSES), "ADE_train_00000002": (1, turned)}
    assert contents(split_of("ade20k", root / inside, "train")) == expected
    assert contents(split_of("ade20k", root / inside, "validation")) == {"ADE_val_00000001": (9, CLASSES)}


def test_the_zip_in_place(root, tmp_path_factory):
    there = tmp_path_factory.mktemp("packed")
    archive = zipped(root, there / "ADEChallengeData2016.zip")
    for data_dir in (archive, there):
        assert contents(split_of("ade20k", data_dir, "validation")) == {"ADE_val_00000001": (9, CLASSES)}


def test_the_instance_set_is_refused(root):
    (root / "ADEChallengeData2016/annotations").rename(root / "ADEChallengeData2016/annotations_instance")
    line = r"is the instance set of ADE20K .* download ADEChallengeData2016\.zip"
    with pytest.raises(UserError, match=line):
        split_of("ade20k", root, "train")


def test_instance_masks_in_the_place_of_annotations_are_refused(root):
    file = root / "ADEChallengeData2016/annotations/training/ADE_train_00000001.png"
    write(file, np.array([[[12, 1, 0]] * 3] * 2, np.uint8))
    with pytest.raises(UserError, match=r"00000001\.png is in colours, as in the instance set"):
        split_of("ade20k", root, "train")[0]


@needs_fixtures
@pytest.mark.parametrize("version", ["2017", "2020"])
def test_the_full_set_is_refused(version):
    with pytest.raises(UserError, match=r"is the full ADE20K \(NAME_seg\.png, .* download ADEChallengeData2016\.zip"):
        split_of("ade20k", FIXTURES / f"datumaro_assets/ade20k{version}_dataset/dataset", "train")


@needs_fixtures
def test_the_sample_of_the_official_scorer(tmp_path):
    sample = FIXTURES / "sceneparsing_sample/sampleData"
    for kind in ("images", "annotations"):
        shutil.copytree(sample / kind, tmp_path / kind / "validation")
    validation = split_of("ade20k", tmp_path, "validation")
    assert len(validation) == 3
    for index in range(3):
        raw = np.array(Image.open(validation.describe(index).label))
        np.testing.assert_array_equal(validation[index]["label"], raw - np.uint8(1))  # 0 − 1 wraps to 255


def test_the_shipped_config_needs_the_folder_only(root):
    config = shipped_config("ade20k")
    config.data.data_dir = str(root)
    spec = data_spec(config)
    dataset = build_dataset(spec)
    batch = next(training_batches(dataset.train, spec, 2, seed=0, num_threads=0))
    side = spec.train_size[0]
    assert batch["image"].shape == (2, side, side, 3)
    shown = set(np.unique(batch["label"]))
    assert {255} < shown <= {0, 1, 12, 149, 255}
