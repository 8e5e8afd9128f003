"""Cityscapes as downloaded: folders and zips, raw label ids, instance ids, no score on void test labels."""

import os
import pickle
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg_jax.data import CITYSCAPES, DataSpec, build_dataset, build_split
from rtseg_jax.errors import UserError

FIXTURES = Path(os.environ.get("RTSEG_FIXTURES", Path(__file__).parents[2] / "../shared/data/fixtures"))
FRAMES = {
    "train": ("zurich/zurich_000000_000019", "aachen/aachen_000001_000019", "aachen/aachen_000000_000019"),
    "val": ("frankfurt/frankfurt_000000_000294",),
    "test": ("berlin/berlin_000000_000019",),
}
# label id → train id, copied from the official table by hand: those that count, then some that do not
OFFICIAL = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
    28: 15, 31: 16, 32: 17, 33: 18,
    **dict.fromkeys((0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30), 255),
}  # fmt: skip


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path):
    """The real layout, with pictures of 2 × 34 whose labels hold every id once."""
    root = tmp_path / "cityscapes"
    ids = np.tile(np.arange(34, dtype=np.uint8), (2, 1))
    for split, frames in FRAMES.items():
        for number, frame in enumerate(frames):
            write(root / f"leftImg8bit/{split}/{frame}_leftImg8bit.png", np.full((2, 34, 3), number, np.uint8))
            write(root / f"gtFine/{split}/{frame}_gtFine_labelIds.png", ids)
            write(root / f"gtFine/{split}/{frame}_gtFine_color.png", np.zeros((2, 34, 4), np.uint8))
            write(root / f"gtFine/{split}/{frame}_gtFine_instanceIds.png", ids.astype(np.uint16) * 1000 + 3)
            (root / f"gtFine/{split}/{frame}_gtFine_polygons.json").write_text("{}")
    return root


def zipped(root):
    """The two zips as they are published: one top folder beside a licence."""
    packed = root.parent / "packed"
    packed.mkdir()
    for top in ("leftImg8bit", "gtFine"):
        with zipfile.ZipFile(packed / f"{top}_trainvaltest.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("README", "")
            archive.writestr("license.txt", "")
            for path in sorted((root / top).rglob("*")):
                archive.write(path, path.relative_to(root))
    return packed


def build(root, **fields):
    return build_dataset(DataSpec("cityscapes", data_dir=str(root), **fields))


def assert_is_the_miniature(dataset):
    assert dataset.info == CITYSCAPES
    names = [dataset.train.describe(i).name for i in range(3)]
    assert names == [FRAMES["train"][2], FRAMES["train"][1], FRAMES["train"][0]]  # cities and frames sorted
    assert [int(dataset.train[i]["image"][0, 0, 0]) for i in range(3)] == [2, 1, 0]
    assert len(dataset.validation) == 1
    expected = np.array([OFFICIAL[raw] for raw in range(34)])
    np.testing.assert_array_equal(dataset.train[0]["label"], [expected] * 2)


def test_folders(root):
    assert_is_the_miniature(build(root))


def test_zips_in_place(root):
    packed = zipped(root)
    dataset = build(packed)
    assert_is_the_miniature(dataset)
    frame = FRAMES["val"][0]
    assert dataset.validation.describe(0).label == (
        f"{packed / 'gtFine_trainvaltest.zip'}:gtFine/val/{frame}_gtFine_labelIds.png"
    )


def _first_label(source):
    return source[0]["label"]


def test_zips_can_be_read_in_another_process(root):
    dataset = build(zipped(root))
    here = dataset.train[0]["label"]
    again = pickle.loads(pickle.dumps(dataset.train))
    np.testing.assert_array_equal(_first_label(again), here)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        np.testing.assert_array_equal(pool.submit(_first_label, dataset.train).result(), here)


def test_instance_ids_alone_give_label_ids(root):
    for path in (root / "gtFine").rglob("*_labelIds.png"):
        path.unlink()
    ids = np.array([[7, 24000, 24001, 26999, 3]], np.uint16)
    for frame in FRAMES["train"]:
        write(root / f"gtFine/train/{frame}_gtFine_instanceIds.png", ids)
        write(root / f"leftImg8bit/train/{frame}_leftImg8bit.png", np.zeros((1, 5, 3), np.uint8))
    np.testing.assert_array_equal(build(root).train[0]["label"], [[0, 11, 11, 13, 255]])


def test_train_ids_alone_are_not_taken_for_label_ids(root):
    for path in (root / "gtFine").rglob("*_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    for path in (root / "gtFine").rglob("*_instanceIds.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"looked for as gtFine/train/CITY/FRAME_gtFine_labelIds\.png"):
        build(root)


def test_test_labels_are_never_scored(root):
    with pytest.raises(UserError, match="test split are void, a score on them means nothing"):
        build(root, validation_split="test")


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(UserError, match="holds neither leftImg8bit/ and gtFine/ nor their zips"):
        build(tmp_path)


def test_picked_and_merged_classes(root):
    picked = build(root, classes=("road", "vehicle=car+truck+bus"))
    assert picked.info.class_names == ("road", "vehicle")
    assert picked.info.palette == ((128, 64, 128), (0, 0, 142))
    assert picked.info.rule == "plain"
    label = picked.train[0]["label"][0]
    assert [int(label[raw]) for raw in (7, 26, 27, 28, 8, 0)] == [0, 1, 1, 1, 255, 255]
    other = build(root, classes=("person",), rest="other")
    assert other.info.class_names == ("person", "other")
    label = other.train[0]["label"][0]
    assert [int(label[raw]) for raw in (24, 7, 33, 0)] == [0, 1, 1, 255]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the fixtures are not here; set RTSEG_FIXTURES")
@pytest.mark.parametrize(("name", "expected"), [("dataset", {24: 11, 3: 255}), ("train_dataset", {24001: 11, 3: 255})])
def test_published_pictures_with_instance_ids(name, expected):
    root = FIXTURES / "datumaro_assets/cityscapes_dataset" / name
    train = build_split(DataSpec("cityscapes", data_dir=str(root)), "train")
    assert train.describe(0).name == "defaultcity/defaultcity_000002_000045"
    raw = np.array(Image.open(train.describe(0).label))
    np.testing.assert_array_equal(train[0]["label"], np.vectorize(expected.get)(raw))
