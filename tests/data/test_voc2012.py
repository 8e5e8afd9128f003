"""PASCAL VOC 2012: palette masks, lists, the tar, and SBD's masks beside VOC's own."""

import numpy as np
import pytest
import scipy.io
from layouts import FIXTURES, contents, names, needs_fixtures, picture, shipped_config, split_of, tarred, write

from rtseg_jax.config import data_spec
from rtseg_jax.data import VOC2012, build_dataset, training_batches
from rtseg_jax.data.class_file import voc_colour
from rtseg_jax.errors import UserError

PALETTE = np.array([voc_colour(index) for index in range(256)], np.uint8).ravel()
LABEL = [[0, 1, 20], [15, 255, 255]]
SBD = [[0, 2, 2], [0, 0, 2]]


@pytest.fixture
def root(tmp_path):
    """Train a, b; val c; d and e have masks of SBD only; the mask of SBD for a is not VOC's."""
    voc = tmp_path / "VOCdevkit/VOC2012"
    for grey, name in enumerate("abcde"):
        picture(voc / f"JPEGImages/{name}.jpg", 10 * grey)
    for name in "abc":
        write(voc / f"SegmentationClass/{name}.png", np.array(LABEL, np.uint8), PALETTE)
    lists = voc / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("b\na\n")
    (lists / "val.txt").write_text("c\n")
    (voc / "ImageSets/Main").mkdir()
    (voc / "ImageSets/Main/train.txt").write_text("a\nb\nc\nd\ne\n")  # the list of the detection task
    return tmp_path


def add_sbd_files(root):
    folder = root / "benchmark_RELEASE/dataset/cls"
    folder.mkdir(parents=True)
    for name in "ade" + "c":
        scipy.io.savemat(folder / f"{name}.mat", {"GTcls": {"Segmentation": np.array(SBD, np.uint8), "Boundaries": 0}})


def add_converted(root):
    for name in "ade":
        write(root / f"VOCdevkit/VOC2012/SegmentationClassAug/{name}.png", np.array(SBD, np.uint8))


@pytest.mark.parametrize("inside", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_folders(root, inside):
    train = split_of("voc2012", root / inside, "train")
    assert contents(train) == {"b": (10, LABEL), "a": (0, LABEL)}
    assert names(train) == ["b", "a"]  # the order of the list
    assert contents(split_of("voc2012", root / inside, "validation")) == {"c": (20, LABEL)}


def test_the_tar_in_place(root, tmp_path_factory):
    there = tmp_path_factory.mktemp("packed")
    archive = tarred(root, there / "VOCtrainval_11-May-2012.tar")
    for data_dir in (archive, there):
        assert contents(split_of("voc2012", data_dir, "train+validation"))["c"] == (20, LABEL)


@pytest.mark.parametrize("add", [add_sbd_files, add_converted])
def test_trainaug_keeps_the_masks_of_voc_and_leaves_out_val(root, add):
    add(root)
    expected = {"a": (0, LABEL), "b": (10, LABEL), "d": (30, SBD), "e": (40, SBD)}
    assert contents(split_of("voc2012", root, "trainaug")) == expected


@pytest.mark.parametrize("line", ["{0}", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png"])
def test_trainaug_of_a_list(root, line):
    add_converted(root)
    listing = root / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt"
    listing.write_text("".join(line.format(name) + "\n" for name in "ea"))
    assert list(contents(split_of("voc2012", root, "trainaug")).items()) == [("e", (40, SBD)), ("a", (0, LABEL))]
    listing.write_text("a\nc\n")
    with pytest.raises(UserError, match=r"trainaug\.txt lists 1 pictures of val\.txt, as c: scores"):
        split_of("voc2012", root, "trainaug")


def test_what_is_missing_is_said(root):
    with pytest.raises(UserError, match="holds no masks of SBD; for trainaug add SegmentationClassAug"):
        split_of("voc2012", root, "trainaug")
    (root / "VOCdevkit/VOC2012/JPEGImages/a.jpg").unlink()
    with pytest.raises(UserError, match=r"JPEGImages/a\.jpg is missing, which the list of a names"):
        split_of("voc2012", root, "train")
    assert names(split_of("voc2012", root, "train", bad="skip")) == ["b"]
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(UserError, match=r"Segmentation/val\.txt is missing"):
        split_of("voc2012", root, "validation")
    with pytest.raises(UserError, match="has no SegmentationClass/ with files; data_dir must be the folder"):
        split_of("voc2012", root / "VOCdevkit/VOC2012/JPEGImages", "train")


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file" + bytes(200), b"nothing"])
def test_damaged_masks_of_sbd(root, content):
    add_sbd_files(root)
    (root / "benchmark_RELEASE/dataset/cls/d.mat").write_bytes(content)
    with pytest.raises(UserError, match=r"cls/d\.mat (is truncated or damaged|has no GTcls)"):
        split_of("voc2012", root, "trainaug")[2]


def test_masks_saved_in_colours_mean_the_same(root):
    colours = np.array(PALETTE).reshape(256, 3)[np.array(LABEL)]
    write(root / "VOCdevkit/VOC2012/SegmentationClass/a.png", colours)
    assert split_of("voc2012", root, "train")[1]["label"].tolist() == LABEL


def test_the_table_is_the_map_of_colours():
    assert VOC2012.labels.colours == {**{voc_colour(i): i for i in range(21)}, voc_colour(255): 255}


@needs_fixtures
def test_a_published_miniature_in_colours():
    train = split_of("voc2012", FIXTURES / "datumaro_assets/voc_dataset/voc_dataset1", "train")
    assert names(train) == ["2007_000001"]
    assert set(np.unique(train[0]["label"])) <= set(range(21))
    assert train[0]["label"].shape == (10, 20)


def test_the_shipped_config_needs_the_folder_only(root):
    config = shipped_config("voc2012")
    config.data.data_dir = str(root)
    spec = data_spec(config)
    dataset = build_dataset(spec)
    batch = next(training_batches(dataset.train, spec, 2, seed=0, num_threads=0))
    side = spec.train_size[0]
    assert batch["image"].shape == (2, side, side, 3)
    shown = set(np.unique(batch["label"]))
    assert {255} < shown <= {0, 1, 15, 20, 255}
