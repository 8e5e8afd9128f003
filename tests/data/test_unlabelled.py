"""Test pictures without labels, in each set's layout."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from rtseg_jax.data import DataSpec
from rtseg_jax.data.unlabelled import build_unlabelled
from rtseg_jax.errors import UserError

LAYOUTS = {
    "cityscapes": {
        "leftImg8bit/test/bonn/bonn_000000_000019_leftImg8bit.png": "bonn_000000_000019_leftImg8bit",
        "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png": None,
    },
    "kitti": {
        "testing/image_2/000003_10.png": "000003_10",
        "training/image_2/000004_10.png": None,
    },
    "ade20k": {
        "release_test/testing/ADE_test_00000001.jpg": "ADE_test_00000001",
        "images/validation/ADE_val_00000001.jpg": None,
    },
    "voc2012": {
        "VOCdevkit/VOC2012/JPEGImages/2008_000006.jpg": "2008_000006",
        "VOCdevkit/VOC2012/JPEGImages/2007_000027.jpg": None,
    },
}
LISTING = "VOCdevkit/VOC2012/ImageSets/Segmentation/test.txt"


def write(root, name):
    for path in LAYOUTS[name]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), 70, np.uint8)).save(root / path)
    if name == "voc2012":
        (root / LISTING).parent.mkdir(parents=True)
        (root / LISTING).write_text("2008_000006\n")


@pytest.mark.parametrize("name", LAYOUTS)
def test_only_the_test_set_is_read(tmp_path, name):
    write(tmp_path, name)
    pictures = build_unlabelled(DataSpec(name, str(tmp_path)))
    expected = [stem for stem in LAYOUTS[name].values() if stem]
    assert [pictures.name(index) for index in range(len(pictures))] == expected
    assert pictures[0].shape == (4, 6, 3)
    assert abs(int(pictures[0].mean()) - 70) <= 1


def test_a_zip_is_read_in_place(tmp_path):
    write(tmp_path / "unpacked", "cityscapes")
    with zipfile.ZipFile(tmp_path / "leftImg8bit_trainvaltest.zip", "w") as archive:
        for path in LAYOUTS["cityscapes"]:
            archive.write(tmp_path / "unpacked" / path, path)
    (tmp_path / "gtFine_trainvaltest.zip").write_bytes((tmp_path / "leftImg8bit_trainvaltest.zip").read_bytes()[:0])
    with zipfile.ZipFile(tmp_path / "gtFine_trainvaltest.zip", "w"):
        pass
    assert len(build_unlabelled(DataSpec("cityscapes", str(tmp_path)))) == 1


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"kitti needs --config\.data\.data_dir"):
        build_unlabelled(DataSpec("kitti"))
    with pytest.raises(UserError, match="no test pictures of kitti there"):
        build_unlabelled(DataSpec("kitti", str(tmp_path)))
    with pytest.raises(UserError, match="camvid has no test pictures without labels"):
        build_unlabelled(DataSpec("camvid", str(tmp_path)))
    write(tmp_path, "voc2012")
    (tmp_path / LISTING).unlink()
    with pytest.raises(UserError, match=r"test.txt is missing; it lists the test pictures"):
        build_unlabelled(DataSpec("voc2012", str(tmp_path)))
