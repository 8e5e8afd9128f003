"""Archives for test servers: what is written is read back, and each kind of mistake is found."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from rtseg_jax.errors import UserError
from rtseg_jax.evaluation.servers import SERVERS, server_of
from rtseg_jax.evaluation.submission import check_submission, read_expected, write_submission

ADE20K, CITYSCAPES, KITTI, VOC = (SERVERS[name] for name in ("ade20k", "cityscapes", "kitti", "voc2012"))
LABEL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
PALETTE = [(i, 2 * i, 3 * i) for i in range(21)]
FRAME = "berlin_000000_000019"


def png(labels, **options):
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, options.pop("format", "PNG"), **options)
    return buffer.getvalue()


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


def maps(sizes, classes, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, classes, size).astype(np.uint8) for size in sizes]


def test_cityscapes_gets_label_ids_at_full_size(tmp_path):
    (labels,) = maps([(1024, 2048)], 19)
    path = tmp_path / "out.zip"
    assert write_submission(path, CITYSCAPES, [(f"berlin/{FRAME}_leftImg8bit", labels)], LABEL_IDS, ()) == 1
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{FRAME}.png"]
        with Image.open(io.BytesIO(archive.read(f"{FRAME}.png"))) as picture:
            assert picture.mode == "L"
            np.testing.assert_array_equal(picture, np.array(LABEL_IDS)[labels])
    assert check_submission(path, CITYSCAPES, {FRAME: None}) == []
    (count,) = check_submission(path, CITYSCAPES)
    assert count == "1 predictions; the test set of Cityscapes has 1525 pictures"


def test_ade20k_gets_numbers_from_1_at_each_size(tmp_path):
    sizes = [(4, 6), (5, 3)]
    labels, path = maps(sizes, 150), tmp_path / "out.zip"
    names = ["ADE_test_00000001", "ADE_test_00000002"]
    write_submission(path, ADE20K, zip(names, labels, strict=True), range(1, 151), ())
    with zipfile.ZipFile(path) as archive:
        for name, expected in zip(names, labels, strict=True):
            with Image.open(io.BytesIO(archive.read(f"{name}.png"))) as picture:
                np.testing.assert_array_equal(picture, expected + 1)
    assert check_submission(path, ADE20K, dict(zip(names, sizes, strict=True))) == []


def test_voc_gets_indexed_pictures_in_its_folder(tmp_path):
    (labels,) = maps([(7, 5)], 21)
    path = tmp_path / "out.tar.gz"
    write_submission(path, VOC, [("2008_000006.jpg", labels)], range(21), PALETTE)
    with tarfile.open(path, "r:gz") as archive:
        (member,) = archive.getmembers()
        assert member.name == "results/VOC2012/Segmentation/comp6_test_cls/2008_000006.png"
        with Image.open(archive.extractfile(member)) as picture:
            assert picture.mode == "P"
            np.testing.assert_array_equal(picture, labels)
            np.testing.assert_array_equal(picture.convert("RGB"), np.array(PALETTE, np.uint8)[labels])
    assert check_submission(path, VOC, {"2008_000006": (7, 5)}) == []


def test_kitti_gets_label_ids_under_the_names_of_the_pictures(tmp_path):
    path = tmp_path / "out.zip"
    write_submission(path, KITTI, [("000003_10", maps([(3, 9)], 19)[0])], LABEL_IDS, ())
    assert zipfile.ZipFile(path).namelist() == ["000003_10.png"]


@pytest.mark.parametrize(
    ("name", "file", "size", "ids", "message"),
    [
        ("out.tar.gz", FRAME, (1024, 2048), LABEL_IDS, "takes .zip"),
        ("out.zip", "street 1", (1024, 2048), LABEL_IDS, "street 1: not a picture of the test set of Cityscapes"),
        ("out.zip", FRAME, (512, 1024), LABEL_IDS, "is 512x1024 .height x width., not 1024x2048; nothing was written"),
        ("out.zip", FRAME, (1024, 2048), range(19), "look like train ids"),
        ("out.zip", FRAME, (1024, 2048), [255] * 19, "the id 255"),
    ],
)
def test_what_the_server_would_refuse_is_not_written(tmp_path, name, file, size, ids, message):
    with pytest.raises(UserError, match=message):
        write_submission(tmp_path / name, CITYSCAPES, [(file, maps([size], 19)[0])], ids, ())
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_submission_leaves_nothing(tmp_path):
    def predictions():
        yield FRAME, np.zeros((1024, 2048), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_submission(tmp_path / "out.zip", CITYSCAPES, predictions(), LABEL_IDS, ())
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"out.zip: cannot be written \(Not a directory\)|\(File exists\)"):
        write_submission(tmp_path / "file" / "out.zip", KITTI, [("000003_10", GOOD)], LABEL_IDS, ())


GOOD = np.full((4, 6), 26, np.uint8)


@pytest.mark.parametrize(
    ("files", "mistake"),
    [
        ({"000000_10.png": png(GOOD)}, "no prediction of 000001_10"),
        ({"000000_10.png": png(GOOD), "000001_10_pred.png": png(GOOD)}, "000001_10_pred.png: the server does not look"),
        ({"000000_10.png": png(GOOD), "a/000001_10.png": png(GOOD)}, "a/000001_10.png: the server does not look"),
        ({"000009_10.png": png(GOOD)}, "000009_10.png: 000009_10 is not one of the test pictures"),
        ({"000000_10.png": png(GOOD[:2])}, "000000_10.png: is 2x6 (height x width), not 4x6"),
        ({"000000_10.png": png(np.full((4, 6), 34, np.uint8))}, "holds 34; the server takes 0 to 33"),
        ({"000000_10.png": png(np.full((4, 6), 255, np.uint8))}, "holds 255; the server takes 0 to 33"),
        ({"000000_10.png": png(np.full((4, 6), 26, np.uint16))}, "pixels of mode I;16; one 8-bit number"),
        ({"000000_10.png": png(np.full((4, 6, 3), 26, np.uint8))}, "pixels of mode RGB; one 8-bit number"),
        ({"000000_10.png": png(GOOD)[:50]}, "000000_10.png: not a picture that can be read"),
        ({"000000_10.png": b""}, "000000_10.png: not a picture that can be read"),
        ({"000000_10.png": png(GOOD, format="JPEG")}, "000000_10.png: a JPEG file; predictions are PNG"),
        ({"000000_10.png": png(GOOD // 2)}, "no id above 18 anywhere: these look like train ids"),
    ],
)
def test_each_kind_of_mistake_is_found(tmp_path, files, mistake):
    path = zipped(tmp_path / "theirs.zip", files.items())
    found = check_submission(path, KITTI, {"000000_10": (4, 6), "000001_10": (4, 6)})
    assert any(mistake in line for line in found), found
    files = {"000000_10.png": png(GOOD), "000001_10.png": png(GOOD), ".DS_Store": b"", "readme.txt": b""}
    assert check_submission(zipped(path, files.items()), KITTI, {"000000_10": (4, 6), "000001_10": (4, 6)}) == []


def test_two_predictions_of_a_frame_are_a_mistake(tmp_path):
    content = png(np.full((1024, 2048), 26, np.uint8))
    path = zipped(tmp_path / "theirs.zip", [(f"a/{FRAME}_x.png", content), (f"b/{FRAME}.png", content)])
    (mistake,) = check_submission(path, CITYSCAPES, {FRAME: None})
    assert mistake == f"b/{FRAME}.png: a second prediction of {FRAME}, beside a/{FRAME}_x.png"


def test_voc_wants_a_tar_an_index_and_its_folder(tmp_path):
    labels = np.zeros((4, 6), np.uint8)
    inside = "results/VOC2012/Segmentation/comp5_test_cls/2008_000006.png"
    path = zipped(tmp_path / "theirs.zip", [(inside, png(labels)), ("2008_000007.png", png(labels))])
    assert check_submission(path, VOC, {"2008_000006": None, "2008_000007": None}) == [
        "theirs.zip is none of .tar.gz, .tgz, which the server takes",
        f"{inside}: a grey PNG; the server wants an indexed one, with a palette",
        "2008_000007.png: the server does not look for a file of this name and folder",
        "no prediction of 2008_000007",
    ]


def test_a_folder_is_checked_before_it_is_packed(tmp_path):
    (tmp_path / "000000_10.png").write_bytes(png(GOOD))
    assert check_submission(tmp_path, KITTI, {"000000_10": (4, 6)}) == []


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    for name in ("no.zip", "gone.zip"):
        with pytest.raises(UserError, match=name):
            check_submission(tmp_path / name, KITTI)
    with pytest.raises(UserError, match="no test server of 'camvid'"):
        server_of("camvid")


def test_expected_pictures_come_from_a_list_or_a_folder(tmp_path):
    (tmp_path / "test.txt").write_text(f"leftImg8bit/test/berlin/{FRAME}_leftImg8bit.png label.png\n\n")
    assert read_expected(tmp_path / "test.txt", CITYSCAPES) == {FRAME: None}
    (tmp_path / "image_2").mkdir()
    (tmp_path / "image_2" / "000000_10.png").write_bytes(png(np.zeros((4, 6, 3), np.uint8)))
    assert read_expected(tmp_path / "image_2", KITTI) == {"000000_10": (4, 6)}
    for place in (tmp_path / "image_2", tmp_path / "gone.txt"):
        with pytest.raises(UserError, match=str(place)):
            read_expected(place, VOC)


@pytest.mark.parametrize(("missing", "text"), [(3, "1, 2"), (9, "5 and 3 more")])
def test_long_lists_are_cut(tmp_path, missing, text):
    expected = {f"{number:06}_10": None for number in range(missing)}
    path = zipped(tmp_path / "theirs.zip", [("000000_10.png", png(GOOD))])
    (line,) = check_submission(path, KITTI, expected)
    assert text.replace("1, 2", "000001_10, 000002_10").replace("5 and", "000005_10 and") in line
