"""BDD100K with its mismatched files, KITTI with and without label ids, A2D2 by scene."""

import numpy as np
import pytest
from layouts import FIXTURES, contents, names, needs_fixtures, picture, split_of, tarred, write, zipped
from PIL import Image

from rtseg_jax.data import A2D2
from rtseg_jax.errors import UserError


def label(*values):
    return np.array([values], np.uint8)


@pytest.fixture
def bdd(tmp_path):
    top = tmp_path / "bdd100k"
    for split in ("train", "val"):
        picture(top / f"images/10k/{split}/{split}-1.jpg", 7, (1, 3))
        write(top / f"labels/sem_seg/masks/{split}/{split}-1.png", label(0, 18, 255))
        write(top / f"labels/sem_seg/colormaps/{split}/{split}-1.png", label(1, 2, 3))
    return tmp_path


def test_bdd100k(bdd, tmp_path_factory):
    for data_dir in (bdd, bdd / "bdd100k"):
        assert contents(split_of("bdd100k", data_dir, "train")) == {"train-1": (7, [[0, 18, 255]])}
    packed = tmp_path_factory.mktemp("packed")
    for archive, inside in (("bdd100k_images_10k.zip", "images"), ("bdd100k_sem_seg_labels_trainval.zip", "labels")):
        part = packed / "part" / archive
        (part / "bdd100k").mkdir(parents=True)
        (bdd / "bdd100k" / inside).rename(part / "bdd100k" / inside)
        zipped(part, packed / archive)
    assert contents(split_of("bdd100k", packed, "validation")) == {"val-1": (7, [[0, 18, 255]])}


def test_bdd100k_of_2018(tmp_path):
    picture(tmp_path / "bdd100k/seg/images/val/x.jpg", 7, (1, 3))
    write(tmp_path / "bdd100k/seg/labels/val/x_train_id.png", label(3, 4, 255))
    write(tmp_path / "bdd100k/seg/color_labels/val/x_train_color.png", label(0, 0, 0))
    assert contents(split_of("bdd100k", tmp_path, "validation")) == {"x": (7, [[3, 4, 255]])}


def test_mismatched_files_of_bdd100k_are_refused_or_skipped_by_name(bdd, capsys):
    picture(bdd / "bdd100k/images/10k/train/alone.jpg", 1)
    write(bdd / "bdd100k/labels/sem_seg/masks/train/lonely.png", label(0))
    with pytest.raises(UserError, match=r"alone\.jpg is a picture without its label, .*--config\.data\.bad=skip"):
        split_of("bdd100k", bdd, "train")
    assert names(split_of("bdd100k", bdd, "train", bad="skip")) == ["train-1"]
    said = capsys.readouterr().err
    assert "train/alone.jpg is a picture without its label" in said
    assert "train/lonely.png is a label without its picture" in said


@pytest.fixture
def kitti(tmp_path):
    for number in range(10):
        name = f"{number:06d}_10.png"
        picture(tmp_path / f"training/image_2/{name}", number, (1, 3))
        write(tmp_path / f"training/semantic/{name}", label(7, 26, 3))
        write(tmp_path / f"training/instance/{name}", np.array([[7 * 256, 26 * 256 + 4, 3 * 256]], np.uint16))
        picture(tmp_path / f"testing/image_2/{name}", 0)
    return tmp_path


@pytest.mark.parametrize("kind", ["semantic", "instance"])
def test_kitti_holds_pictures_out(kitti, kind, capsys):
    for other in {"semantic", "instance"} - {kind}:
        (kitti / "training" / other).rename(kitti / other)
    train, scored = (split_of("kitti", kitti, split) for split in ("train", "validation"))
    assert (len(train), len(scored)) == (8, 2)
    assert set(names(train)) | set(names(scored)) == {f"{number:06d}_10" for number in range(10)}
    assert capsys.readouterr().err == "kitti has no validation split: 2 of 10 pictures are held out, seed 0\n"
    assert contents(scored)[names(scored)[0]][1] == [[0, 13, 255]]
    assert {tuple(names(split_of("kitti", kitti, "validation", seed=seed))) for seed in range(4)} > {
        tuple(names(scored))
    }
    with pytest.raises(UserError, match=r"validation_share is 0\.01 of 10 pictures"):
        split_of("kitti", kitti, "train", validation_share=0.01)


def test_kitti_zip(kitti, tmp_path_factory):
    archive = zipped(kitti, tmp_path_factory.mktemp("packed") / "data_semantics.zip")
    here = contents(split_of("kitti", kitti, "validation"))
    assert contents(split_of("kitti", archive, "validation")) == contents(
        split_of("kitti", archive.parent, "validation")
    )
    assert contents(split_of("kitti", archive, "validation")) == here


@needs_fixtures
def test_kitti_published_miniature_with_instances():
    source = split_of(
        "kitti", FIXTURES / "datumaro_assets/kitti_dataset/kitti_segmentation", "train", validation_share=0.5
    )
    ((name, (grey, classes)),) = contents(source).items()
    ids = {"000030_10": {3: 255, 27: 14}, "000030_11": {3: 255, 12: 3, 31: 16}}[name]
    raw = np.array(Image.open(source.describe(0).label)) // 256
    assert grey == 1
    assert classes == [[ids[value] for value in raw[0]]]


def a2d2_frame(root, scene, number, colours):
    for kind, array in (("camera", np.full((1, 3, 3), number, np.uint8)), ("label", np.array([colours], np.uint8))):
        name = f"{scene.replace('_', '')}_{kind}_frontcenter_{number:09d}.png"
        write(root / f"camera_lidar_semantic/{scene}/{kind}/cam_front_center/{name}", array)


@pytest.fixture
def a2d2(tmp_path):
    for scene in range(5):
        for number in (1, 2):
            a2d2_frame(tmp_path, f"2018080{scene}_145028", number, [(255, 0, 0), (200, 0, 0), (135, 206, 255)])
    return tmp_path


def test_a2d2_holds_whole_scenes_out(a2d2, capsys):
    train, scored = (split_of("a2d2", a2d2, split) for split in ("train", "validation"))
    assert (len(train), len(scored)) == (8, 2)
    scene = names(scored)[0].split("/")[0]
    assert names(scored) == [
        f"{scene}/cam_front_center/{scene.replace('_', '')}_frontcenter_00000000{n}" for n in (1, 2)
    ]
    assert not [name for name in names(train) if name.startswith(scene)]
    said = f"a2d2 has no official split: 1 of 5 scenes are held out, seed 0: {scene}\n"
    assert capsys.readouterr().err == said
    assert scored[0]["label"].tolist() == [[0, 0, 34]]  # car 1 and car 2 are cars
    assert A2D2.class_names[34] == "Sky"
    packed = tarred(a2d2, a2d2 / "packed/camera_lidar_semantic.tar")
    assert names(split_of("a2d2", packed, "validation")) == names(split_of("a2d2", packed.parent, "validation"))
    assert names(split_of("a2d2", packed, "validation")) == names(scored)


def test_an_unknown_colour_of_a2d2_is_named(a2d2):
    a2d2_frame(a2d2, "20180800_145028", 3, [(255, 0, 0), (1, 2, 3), (135, 206, 255)])
    source = split_of("a2d2", a2d2, "train")
    if not any(name.endswith("3") for name in names(source)):
        source = split_of("a2d2", a2d2, "validation")
    with pytest.raises(UserError, match=r"has the colour #010203 .* in 1 pixels, which no class has"):
        source[next(i for i, name in enumerate(names(source)) if name.endswith("3"))]
