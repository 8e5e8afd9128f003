"""A folder of one's own: how its labels are found, what they mean, and how it is divided."""

import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stranger import COLOURS, SIZES, label_of, picture_of, write_label, write_picture

from rtseg_jax.data import DataSpec, build_dataset, build_split, dataset_info
from rtseg_jax.errors import UserError

FIXTURES = Path(os.environ.get("RTSEG_FIXTURES", Path(__file__).parents[2] / "../shared/data/fixtures"))
REAL = Path(os.environ.get("RTSEG_CAMVID", Path(__file__).parents[2] / "../shared/data/camvid"))
CLASSES = ("road", "person", "sky")


def spec_of(root, **fields):
    return DataSpec("folder", data_dir=str(root), **fields)


def fill(root, image="images/p{}.jpg", label="labels/p{}.png", kind="grey", number=10, offset=0):
    for n in range(number):
        write_picture(root / image.format(n), n)
        write_label(root / label.format(n), label_of(n) + np.uint8(offset), kind)
    return root


def write_classes(root, **more):
    (root / "classes.json").write_text(json.dumps({"classes": CLASSES, **more}))


def error_of(action):
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def numbers(source):
    """Which pictures a source holds, from their names."""
    return [int("".join(filter(str.isdigit, Path(source.describe(i).image).stem))) for i in range(len(source))]


def assert_reads(source, names):
    """Pictures and labels are those that were written, at the sizes of each."""
    assert numbers(source) == names
    for i, number in enumerate(names):
        example = source[i]
        assert np.abs(example["image"].astype(int) - picture_of(number)).max() <= 2
        np.testing.assert_array_equal(example["label"], label_of(number))


@pytest.mark.parametrize("kind", ["grey", "grey16", "grey_rgb", "palette", "rgb", "rgba"])
def test_every_kind_of_label_reads_alike(tmp_path, kind):
    fill(tmp_path, kind=kind, number=6)
    write_classes(tmp_path, colours=COLOURS)
    spec = spec_of(tmp_path, validation_share=0.34)
    dataset = build_dataset(spec)
    assert dataset.info.class_names == CLASSES
    assert dataset.info.palette == COLOURS
    assert (len(dataset.train), len(dataset.validation)) == (4, 2)
    assert_reads(dataset.train, numbers(dataset.train))
    assert_reads(dataset.validation, numbers(dataset.validation))
    assert sorted(numbers(dataset.train) + numbers(dataset.validation)) == [*range(6)]


@pytest.mark.parametrize(
    ("image", "label", "pattern"),
    [
        ("images/p{}.jpg", "masks/p{}.png", ""),
        ("mine/rgb/p{}.JPG", "mine/gt/p{}.png", ""),
        ("p{}.jpg", "p{}_mask.png", ""),
        ("day 1/p{}.jpg", "day 1/p{}_gt.png", ""),
        ("img/a/p{}.jpeg", "annotations/a/p{}_label.png", ""),
        ("fotos/bild_{}.jpg", "wahrheit/etikett_{}.png", "fotos/bild_*.jpg wahrheit/etikett_*"),
        ("bücher/größe {}.jpg", "ärger/größe {}.png", "'bücher/*' 'ärger/*'"),
    ],
)
def test_pairs_by_folder_suffix_and_pattern(tmp_path, image, label, pattern):
    fill(tmp_path, image, label, number=4)
    write_classes(tmp_path)
    dataset = build_dataset(spec_of(tmp_path, pairs=pattern, validation_share=0.5))
    assert sorted(numbers(dataset.train) + numbers(dataset.validation)) == [*range(4)]
    assert_reads(dataset.train, numbers(dataset.train))


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{split}/p{n}.jpg", "labels/{split}/p{n}.png"),
        ("{split}/images/p{n}.jpg", "{split}/masks/p{n}.png"),
        ("{split}/p{n}.jpg", "{split}annot/p{n}.png"),
    ],
)
def test_folders_divide(tmp_path, image, label):
    for n, split in enumerate(("train", "train", "val", "test")):
        write_picture(tmp_path / image.format(split=split, n=n), n)
        write_label(tmp_path / label.format(split=split, n=n), label_of(n), "grey")
    write_classes(tmp_path)
    for split, names in (("train", [0, 1]), ("validation", [2]), ("test", [3])):
        assert_reads(build_split(spec_of(tmp_path), split), names)


@pytest.mark.parametrize(
    "line",
    [
        "images/p {n}.jpg labels/p {n}.png",
        "/home/someone/data/images/p {n}.jpg\t/home/someone/data/labels/p {n}.png",
        "C:\\data\\images\\p {n}.jpg,C:\\data\\labels\\p {n}.png",
        "p {n}.jpg p {n}.png",
        "images/p {n}.jpg",
        "p {n}",
    ],
)
def test_lists_divide_and_order(tmp_path, line):
    fill(tmp_path, "images/p {}.jpg", "labels/p {}.png", number=5)
    write_classes(tmp_path)
    for split, names in (("train", (3, 0)), ("val", (4,))):
        (tmp_path / f"{split}.txt").write_text("\n".join(line.format(n=n) for n in names))
    assert_reads(build_split(spec_of(tmp_path), "train"), [3, 0])
    assert_reads(build_split(spec_of(tmp_path), "validation"), [4])
    assert "no pictures of the split test" in error_of(lambda: build_split(spec_of(tmp_path), "test"))


def test_names_sort_as_people_count(tmp_path):
    fill(tmp_path, number=12)
    write_classes(tmp_path)
    train = numbers(build_dataset(spec_of(tmp_path)).train)
    assert train == sorted(train)
    assert max(train) >= 10


def test_chance_divides_by_seed_and_name_only(tmp_path):
    write_classes(fill(tmp_path / "one", number=40))
    write_classes(fill(tmp_path / "elsewhere", number=40))
    drawn = [numbers(build_split(spec_of(tmp_path / name), "validation")) for name in ("one", "elsewhere")]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 8
    assert numbers(build_split(spec_of(tmp_path / "one", seed=1), "validation")) != drawn[0]
    train = numbers(build_split(spec_of(tmp_path / "one"), "train"))
    assert sorted(train + drawn[0]) == [*range(40)]
    message = error_of(lambda: build_dataset(spec_of(tmp_path / "one", validation_share=0.001)))
    assert message.startswith("config.data.validation_share is 0.001 of 40 pictures")


def test_without_a_class_file_the_ids_are_the_classes(tmp_path, capsys):
    fill(tmp_path, number=4)
    write_label(tmp_path / "labels/p1.png", np.where(label_of(1) == 2, 255, 7 * label_of(1)).astype(np.uint8), "grey")
    spec = spec_of(tmp_path, validation_share=0.5)
    info = dataset_info(spec)
    assert info.class_names == ("id 0", "id 1", "id 2", "id 7")
    assert "classes are id 0, id 1, id 2, id 7" in capsys.readouterr().err
    assert dataset_info(spec) == info
    assert capsys.readouterr().err == ""  # remembered
    dataset = build_dataset(spec)
    label = next(s[numbers(s).index(1)]["label"] for s in (dataset.train, dataset.validation) if 1 in numbers(s))
    np.testing.assert_array_equal(label[:, 0], np.array([0, 3, 255])[label_of(1)[:, 0]])


@pytest.mark.parametrize("kind", ["rgb", "palette"])
def test_without_a_class_file_colours_are_the_classes_or_paint_them(tmp_path, kind):
    info = dataset_info(spec_of(fill(tmp_path, kind=kind, number=2)))
    assert set(info.palette) == set(COLOURS)
    assert info.class_names == (("#0000c0", "#404000", "#804080") if kind == "rgb" else ("id 0", "id 1", "id 2"))


def test_a_mask_of_0_and_255_is_refused_with_the_line_that_makes_it_work(tmp_path):
    for n in range(4):
        write_picture(tmp_path / f"images/{n}.jpg", n)
        write_label(tmp_path / f"labels/{n}.png", np.where(label_of(n) == 1, 255, 0).astype(np.uint8), "grey")
    message = error_of(lambda: dataset_info(spec_of(tmp_path)))
    assert message.startswith(str(tmp_path / "labels/0.png"))
    setting = "0=background,255=foreground"
    assert f"--config.data.ids={setting}" in message
    dataset = build_dataset(spec_of(tmp_path, ids=setting, validation_share=0.5))
    assert dataset.info.class_names == ("background", "foreground")
    for i, number in enumerate(numbers(dataset.train)):
        np.testing.assert_array_equal(dataset.train[i]["label"], label_of(number) == 1)


def test_a_class_file_gives_any_ids_any_class(tmp_path):
    fill(tmp_path, number=4, offset=40)
    write_classes(tmp_path, ids={"road": [40, 900], "sky": 42}, ignore=[41])
    train = build_split(spec_of(tmp_path, validation_share=0.5), "train")
    np.testing.assert_array_equal(train[0]["label"], np.array([0, 255, 2])[label_of(numbers(train)[0])])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds a list"),
        ('{"classes": []}', "names no classes"),
        ('{"classes": ["a", "a"]}', "names the class 'a' twice"),
        ('{"clases": ["a", "b"]}', "the nearest that means something is 'classes'"),
        ('{"classes": ["a", "b"], "ids": [1]}', "one entry for each of the 2 classes"),
        ('{"classes": ["a", "b"], "ids": {"c": 1}}', "there is no class 'c'"),
        ('{"classes": ["a", "b"], "ids": {"a": 1, "b": [2, 1]}}', "1 is given to 'a' already"),
        ('{"classes": ["a", "b"], "ids": {"a": 1, "b": 2}, "ignore": [2]}', "2 is given to 'b' already"),
        ('{"classes": ["a", "b"], "ids": {"a": 70000}}', "outside 0 to 65535"),
        ('{"classes": ["a", "b"], "colours": {"a": [1, 2]}}', "is no colour"),
        ('{"classes": ["a", "b"], "colours": ["#fffffg", "#000000"]}', "'#fffffg' is no colour"),
        ('{"classes": ["a", "b"], "palette": [[1, 2, 3]]}', "palette has not one colour"),
    ],
)
def test_class_files_that_cannot_be_understood(tmp_path, content, says):
    (tmp_path / "classes.json").write_text(content)
    message = error_of(lambda: dataset_info(spec_of(tmp_path)))
    assert says in message


def test_what_is_missing_is_named_with_the_pattern(tmp_path):
    fill(tmp_path, number=4)
    write_classes(tmp_path)
    (tmp_path / "labels/p2.png").unlink()
    message = error_of(lambda: build_split(spec_of(tmp_path), "train"))
    assert message.startswith(f"{tmp_path / 'images/p2.jpg'} is a picture without its label, looked for as labels/*")
    skipping = build_split(spec_of(tmp_path, bad="skip", validation_share=0.34), "train")
    assert 2 not in numbers(skipping)
    shutil.rmtree(tmp_path / "labels")
    assert "holds 4 pictures, but none with a label" in error_of(lambda: build_split(spec_of(tmp_path), "train"))
    pattern = error_of(lambda: build_split(spec_of(tmp_path, pairs="images/* gt/*_x"), "train"))
    assert "no picture images/* has a label gt/*_x; the first that is alone: " in pattern
    assert "config.data.pairs is 'images/*'" in error_of(
        lambda: build_split(spec_of(tmp_path, pairs="images/*"), "train")
    )


def test_two_pictures_of_one_name(tmp_path):
    fill(tmp_path, number=3)
    write_classes(tmp_path)
    write_picture(tmp_path / "images/p1.jpeg", 1)
    assert "images/p1.jpeg are both called p1" in error_of(lambda: build_split(spec_of(tmp_path), "train"))


def test_accents_composed_and_decomposed_are_one_name(tmp_path):
    write_classes(tmp_path)
    for n in range(2):
        write_picture(tmp_path / f"images/{n} é.jpg", n)
        write_label(tmp_path / f"labels/{n} e\u0301.png", label_of(n), "grey")
    assert len(build_split(spec_of(tmp_path, validation_share=0.5), "train")) == 1


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("top", ["", "my pictures/"])
def test_archives_are_read_in_place(tmp_path, kind, top):
    fill(tmp_path / "x" / top, number=4)
    write_classes(tmp_path / "x" / top)
    path = Path(shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path / "x"))
    dataset = build_dataset(spec_of(path, validation_share=0.5))
    assert dataset.info.class_names == CLASSES
    train = dataset.train
    assert_reads(train, numbers(train))
    assert train.describe(0).image.startswith(f"{path}:{top}images/p")
    again = pickle.loads(pickle.dumps(train))
    assert_reads(again, numbers(train))


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    fill(tmp_path, number=4)
    write_classes(tmp_path)
    for name in ("images/._p0.jpg", "images/.DS_Store", "labels/Thumbs.db", "__MACOSX/images/p9.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert len(build_split(spec_of(tmp_path, validation_share=0.5), "train")) == 2


def test_links_are_followed_but_not_in_circles(tmp_path):
    fill(tmp_path / "real", number=4)
    write_classes(tmp_path / "real")
    (tmp_path / "real/images/again").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "linked").mkdir()
    for name in ("images", "labels", "classes.json"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "real" / name)
    for root in ("real", "linked"):
        dataset = build_dataset(spec_of(tmp_path / root, validation_share=0.5, bad="skip"))
        assert sorted({*numbers(dataset.train), *numbers(dataset.validation)}) == [*range(4)]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the fixtures are not here; set RTSEG_FIXTURES")
def test_published_pairs_with_prefixes(tmp_path):
    source = FIXTURES / "datumaro_assets/common_semantic_segmentation_dataset/non_standard_dataset"
    meta = json.loads((source / "dataset_meta.json").read_text())
    names = list(meta["label_map"].values())
    shutil.copytree(source, tmp_path / "x")
    (tmp_path / "x/classes.json").write_text(
        json.dumps({"classes": names, "colours": meta["segmentation_colors"], "ids": {}})
    )
    spec = spec_of(tmp_path / "x", pairs="images/image_* masks/gt_*", validation_share=0.5)
    dataset = build_dataset(spec)
    seen = {}
    for part in (dataset.train, dataset.validation):
        seen[part.describe(0).name] = {names[index] for index in np.unique(part[0]["label"])}
    assert seen == {"0001": {"Bicyclist", "Road"}, "0002": {"Animal", "Road", "SignSymbol"}}


@pytest.mark.skipif(not REAL.is_dir(), reason="CamVid is not here; set RTSEG_CAMVID")
def test_camvid_as_a_stranger_would_have_it(tmp_path):
    """Every 30th picture as JPEG at mixed sizes; labels in a palette, in colours, in grey; divided by lists."""
    camvid = build_dataset(DataSpec("camvid", data_dir=str(REAL)))
    colours = [list(colour) for colour in camvid.info.palette]
    expected = {}
    for split, source in (("train", camvid.train), ("val", camvid.validation)):
        lines = []
        for number, index in enumerate(range(0, len(source), 30)):
            example, name = source[index], f"{split} bild {index}"
            size = [(360, 480), (480, 360), (180, 240), (300, 300)][number % 4]
            label = np.array(Image.fromarray(example["label"]).resize(size[::-1], Image.Resampling.NEAREST))
            expected[name] = label
            painted = np.zeros((256, 3), np.uint8)
            painted[:11] = colours
            label_image = Image.fromarray(painted[label])
            if number % 3 == 0:
                label_image = Image.fromarray(label).convert("P")
                label_image.putpalette(painted.ravel().tolist())
            elif number % 3 == 1:
                label_image = Image.fromarray(label)
            for folder in ("photos", "truth"):
                (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(example["image"]).resize(size[::-1]).save(tmp_path / "photos" / f"{name}.jpg")
            label_image.save(tmp_path / "truth" / f"{name}.png")
            lines.append(f"/somewhere/else/photos/{name}.jpg /somewhere/else/truth/{name}.png")
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    table = {"classes": camvid.info.class_names, "colours": colours, "ignore": [255, [0, 0, 0]]}
    (tmp_path / "classes.json").write_text(json.dumps(table))
    dataset = build_dataset(spec_of(tmp_path))
    assert (len(dataset.train), len(dataset.validation)) == (13, 4)
    for source in (dataset.train, dataset.validation):
        for i in range(len(source)):
            example = source[i]
            np.testing.assert_array_equal(example["label"], expected[Path(source.describe(i).name).name])
            assert example["image"].shape[:2] == example["label"].shape


def test_a_zip_that_is_cut_off(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/a.jpg", b"x" * 1000)
    path.write_bytes(path.read_bytes()[:200])
    assert error_of(lambda: dataset_info(spec_of(path))).startswith(f"{path} is not a zip or an uncompressed tar")
    packed = tmp_path / "x.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    assert "unpack it" in error_of(lambda: dataset_info(spec_of(packed)))


def test_sizes_are_mixed():
    assert len(set(SIZES)) == len(SIZES)
