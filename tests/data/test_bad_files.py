"""Odd and broken files: each is read as a person would expect, or refused in one line that names file and remedy."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rtseg_jax.data import BadFile, DatasetInfo, DataSpec, LabelTable, build_dataset, check_source
from rtseg_jax.data.checking import bad_examples, findings
from rtseg_jax.data.decoding import decode_image, decode_label
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.pairing import Pair
from rtseg_jax.data.storage import Folder
from rtseg_jax.data.subset import Joined
from rtseg_jax.errors import UserError
from rtseg_jax.files import cache_folder

FILE = "some/file.png"
GRADIENT = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
IDS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
TABLE = LabelTable({0: 0, 1: 1, 2: 2, 255: 255}, {RED: 0, GREEN: 1, BLUE: 2})
COLOURED = np.array([RED, GREEN, BLUE], np.uint8)[IDS]


def encoded(image, kind="PNG", **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def palette(ids, colours):
    image = Image.fromarray(ids).convert("P")
    image.putpalette([value for colour in colours for value in colour])
    return image


def low_bit_grey_png(rows, bits):
    """A grey PNG of fewer than 8 bits, written by hand: Pillow writes none of 2 or 4."""
    packed = b"".join(
        b"\0" + bytes(sum(v << (8 - bits * (i + 1)) for i, v in enumerate(row)) for row in [r]) for r in rows
    )

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b"")


def rotated(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


GREY = GRADIENT[..., 0]
FLAT_CMYK = Image.new("CMYK", (4, 4), (0, 255, 255, 0))  # cyan off, magenta and yellow on: red


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encoded(GRADIENT), GRADIENT, id="rgb"),
        pytest.param(encoded(GREY), np.repeat(GREY[..., None], 3, axis=2), id="grey"),
        pytest.param(encoded(np.dstack([GRADIENT, GREY])), GRADIENT, id="rgba"),
        pytest.param(encoded(np.dstack([GREY, GREY])), np.repeat(GREY[..., None], 3, axis=2), id="grey and alpha"),
        pytest.param(
            encoded(GREY.astype(np.uint16) * 257 + 100), np.repeat(GREY[..., None], 3, axis=2), id="grey of 16 bits"
        ),
        pytest.param(encoded(palette(IDS, [RED, GREEN, BLUE])), COLOURED, id="palette"),
        pytest.param(encoded(palette(IDS, [RED, GREEN, BLUE]), transparency=0), COLOURED, id="transparent palette"),
        pytest.param(encoded(FLAT_CMYK, "JPEG", quality=100), np.full((4, 4, 3), RED, np.uint8), id="cmyk jpeg"),
        pytest.param(encoded(GRADIENT, exif=rotated(6)), np.rot90(GRADIENT, -1), id="exif turned right"),
        pytest.param(encoded(GRADIENT, exif=rotated(3)), GRADIENT[::-1, ::-1], id="exif upside down"),
        pytest.param(encoded(GRADIENT, exif=rotated(2)), GRADIENT[:, ::-1], id="exif mirrored"),
        pytest.param(encoded(GRADIENT, "BMP"), GRADIENT, id="bmp"),
    ],
)
def test_pictures_read_as_a_viewer_shows_them(data, expected):
    image = decode_image(data, FILE)
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= 2


JPEG = encoded(NOISE, "JPEG")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "is empty (0 bytes); replace the file", id="empty"),
        pytest.param(b"404: not found", "is not a readable picture; replace", id="text"),
        pytest.param(JPEG[: len(JPEG) // 2], "is truncated or damaged", id="truncated jpeg"),
        pytest.param(encoded(NOISE)[:-2000], "is truncated or damaged", id="truncated png"),
        pytest.param(encoded(NOISE)[:20], "is not a readable picture", id="header only"),
        pytest.param(encoded(GREY.astype(np.float32), "TIFF"), "has 32-bit pixels (mode F)", id="float"),
    ],
)
def test_pictures_that_are_refused(data, says):
    with pytest.raises(BadFile) as caught:
        decode_image(data, FILE)
    assert str(caught.value).startswith(f"{FILE} {says}")
    assert "\n" not in str(caught.value)
    if data != encoded(GREY.astype(np.float32), "TIFF"):
        with pytest.raises(BadFile):
            decode_label(data, TABLE, FILE)


SHUFFLED = palette(np.array([2, 0, 1], np.uint8)[IDS], [GREEN, BLUE, RED])  # as quantizing leaves it: ids mean nothing


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(IDS), id="grey"),
        pytest.param(encoded(IDS.astype(np.uint16)), id="16 bits"),
        pytest.param(encoded(np.dstack([IDS, IDS * 100])), id="grey and alpha"),
        pytest.param(encoded(np.repeat(IDS[..., None], 3, axis=2)), id="grey as rgb"),
        pytest.param(encoded(COLOURED), id="rgb"),
        pytest.param(encoded(np.dstack([COLOURED, IDS * 100])), id="rgba"),
        pytest.param(encoded(palette(IDS, [RED, GREEN, BLUE])), id="palette"),
        pytest.param(encoded(palette(IDS, [(9, 9, 9), (8, 8, 8), (7, 7, 7)])), id="palette of other colours"),
        pytest.param(encoded(palette(IDS, [RED, RED, RED])), id="palette of one colour"),
        pytest.param(encoded(SHUFFLED), id="palette in any order"),
        pytest.param(low_bit_grey_png([[0, 1, 2], [2, 1, 0]], 2), id="2 bits"),
    ],
)
def test_every_kind_of_label_reads_alike(data):
    label = decode_label(data, TABLE, FILE)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, IDS)


def test_labels_of_one_and_four_bits():
    np.testing.assert_array_equal(decode_label(encoded(Image.fromarray(IDS == 1)), TABLE, FILE), IDS == 1)
    np.testing.assert_array_equal(decode_label(low_bit_grey_png([[2, 1]], 4), TABLE, FILE), [[2, 1]])


def test_greys_that_are_colours():
    table = LabelTable({}, {(0, 0, 0): 1, (255, 255, 255): 0})
    np.testing.assert_array_equal(decode_label(encoded(IDS // 2 * 255), table, FILE), [[1, 1, 0], [0, 1, 1]])


def test_any_ids_with_gaps():
    table = LabelTable({0: 255, 300: 0, 65535: 1})
    np.testing.assert_array_equal(
        decode_label(encoded(np.array([[0, 300, 65535]], np.uint16)), table, FILE), [[255, 0, 1]]
    )
    big = np.array([[-1, 65536 + 300, 300]], np.int64)
    np.testing.assert_array_equal(table.from_ids(big), [[254, 254, 0]])


@pytest.mark.parametrize(
    ("data", "table", "says"),
    [
        pytest.param(
            encoded(IDS + 5), TABLE, "has the ids 5, 6, 7 in 6 pixels, which no class has; correct the label", id="ids"
        ),
        pytest.param(encoded(IDS.astype(np.uint16) + 900), TABLE, "has the ids 900, 901, 902 in 6", id="16-bit ids"),
        pytest.param(encoded(NOISE), TABLE, "has the colours #", id="many colours"),
        pytest.param(
            encoded(np.where(COLOURED == 255, 254, 0).astype(np.uint8)[:1, :1]),
            TABLE,
            "has the colour #fe0000 (254, 0, 0) in 1 pixels",
            id="a colour",
        ),
        pytest.param(encoded(COLOURED), LabelTable.plain(3), "is a mask in colours, but no colours of", id="colours"),
        pytest.param(encoded(COLOURED, "JPEG"), TABLE, "is a label in JPEG, which changes ids", id="jpeg"),
        pytest.param(
            encoded(Image.fromarray(COLOURED).convert("CMYK"), "TIFF"), TABLE, "has pixels of mode CMYK", id="cmyk"
        ),
    ],
)
def test_labels_that_are_refused(data, table, says):
    with pytest.raises(BadFile) as caught:
        decode_label(data, table, FILE)
    assert str(caught.value).startswith(f"{FILE} {says}")
    assert "\n" not in str(caught.value)


def test_unknown_ids_are_named_with_the_setting_that_mends_them():
    with pytest.raises(BadFile, match=r"the ids 7, 9, 8 and 1 more in 7 pixels.*--config\.data\.ids=7=ignore"):
        decode_label(encoded(np.array([[7, 7, 7, 8, 9, 9, 10]], np.uint8)), TABLE, FILE)


# ---- whole sources

INFO = DatasetInfo("mine", ("a", "b", "c"), (RED, GREEN, BLUE), TABLE)


@pytest.fixture
def source(tmp_path):
    """Seven examples, of which the second, fourth and sixth are bad: a size, an id, and a file that is cut off."""
    for number in range(7):
        (tmp_path / f"{number}.png").write_bytes(encoded(np.full((2, 3, 3), number, np.uint8)))
        (tmp_path / f"{number}_L.png").write_bytes(encoded(IDS))
    (tmp_path / "1_L.png").write_bytes(encoded(IDS.T))
    (tmp_path / "3_L.png").write_bytes(encoded(IDS + 1))
    (tmp_path / "5.png").write_bytes(encoded(NOISE)[:-2000])
    pairs = [Pair(f"{number}.png", f"{number}_L.png", str(number)) for number in range(7)]
    return PairSource(Folder(tmp_path), pairs, TABLE)


def test_findings_name_example_file_and_remedy(source, tmp_path):
    visited = []
    found = list(findings(source, INFO, visit=lambda index, example: visited.append((index, example["label"].shape))))
    assert [index for index, _ in found] == [1, 3, 5]
    assert [finding.file for _, finding in found] == [str(tmp_path / n) for n in ("1_L.png", "3_L.png", "5.png")]
    assert "is 3x2" in found[0][1].what
    assert found[0][1].remedy == "turn the label as the picture's EXIF orientation turns the picture"
    assert visited == [(index, (2, 3)) for index in (0, 2, 4, 6)]


def test_a_check_raises_the_first_and_remembers_only_what_is_good(source, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEG_JAX_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        with pytest.raises(UserError, match=r"1_L\.png is 3x2"):
            check_source(source, INFO)
    assert not (tmp_path / "cache").exists()
    (tmp_path / "1_L.png").write_bytes(encoded(IDS))
    (tmp_path / "3_L.png").write_bytes(encoded(IDS))
    (tmp_path / "5.png").write_bytes(encoded(np.zeros((2, 3, 3), np.uint8)))
    check_source(source, INFO)
    reads = []
    monkeypatch.setattr(PairSource, "__getitem__", lambda self, index: reads.append(index))
    check_source(source, INFO)
    assert reads == []
    monkeypatch.undo()
    monkeypatch.setenv("RTSEG_JAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "3_L.png").write_bytes(encoded(IDS + 1))  # same size, another time
    os.utime(tmp_path / "3_L.png", ns=(1, 1))
    with pytest.raises(UserError, match=r"3_L\.png has the id 3"):
        check_source(source, INFO)


def test_a_cache_that_cannot_be_written_is_said_and_done_without(source, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RTSEG_JAX_CACHE", str(tmp_path / "file"))
    assert set(bad_examples(source, INFO)) == {1, 3, 5}
    assert "is looked at again at every start" in caplog.text
    assert cache_folder() == tmp_path / "file"


def test_skipping_leaves_bad_files_out_and_says_which(source, tmp_path, monkeypatch, capsys):
    (tmp_path / "x/images").mkdir(parents=True)
    (tmp_path / "x/labels").mkdir()
    for number in range(7):
        (tmp_path / f"{number}.png").rename(tmp_path / f"x/images/{number}.png")
        (tmp_path / f"{number}_L.png").rename(tmp_path / f"x/labels/{number}.png")
    (tmp_path / "x/images/alone.png").write_bytes(encoded(GRADIENT))
    (tmp_path / "x/classes.json").write_text('{"classes": ["a", "b", "c"]}')
    spec = DataSpec("folder", data_dir=str(tmp_path / "x"), bad="skip", validation_share=0.3)
    for _ in range(2):  # the second time from memory
        dataset = build_dataset(spec)
        lines = capsys.readouterr().err.splitlines()
        names = sorted(s.describe(i).name for s in (dataset.train, dataset.validation) for i in range(len(s)))
        assert names == ["0", "2", "4", "6"]
        assert len(lines) == 4
        assert all(line.startswith(f"skipped: {tmp_path / 'x'}") for line in lines)
        assert "alone.png is a picture without its label" in lines[0]
    with pytest.raises(UserError, match=r"config\.data\.bad is 'drop'"):
        build_dataset(DataSpec("folder", data_dir=str(tmp_path / "x"), bad="drop"))


def test_labels_of_0_and_255_only_are_found_where_classes_are_given(tmp_path):
    mask = (IDS // 2 * 255).astype(np.uint8)
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(encoded(np.zeros((2, 3, 3), np.uint8)))
        (tmp_path / f"{number}_mask.png").write_bytes(encoded(mask))
    (tmp_path / "classes.json").write_text('{"classes": ["grass", "weed"]}')
    spec = DataSpec("folder", data_dir=str(tmp_path), validation_share=0.5)
    dataset = build_dataset(spec)
    with pytest.raises(UserError, match=r"hold only 0 and 255.*--config\.data\.ids=0=grass,255=weed"):
        check_source(dataset.train, dataset.info)
    told = build_dataset(DataSpec("folder", data_dir=str(tmp_path), validation_share=0.5, ids="0=grass,255=weed"))
    check_source(told.train, told.info)
    np.testing.assert_array_equal(told.train[0]["label"], IDS // 2)


def test_a_link_to_itself_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number in range(2):
        (tmp_path / f"images/{number}.png").write_bytes(encoded(np.zeros((2, 3, 3), np.uint8)))
        (tmp_path / f"labels/{number}.png").write_bytes(encoded(IDS))
    (tmp_path / "images/1.png").unlink()
    (tmp_path / "images/1.png").symlink_to(tmp_path / "images/1.png")
    (tmp_path / "classes.json").write_text('{"classes": ["a", "b", "c"]}')
    dataset = build_dataset(DataSpec("folder", data_dir=str(tmp_path), validation_share=0.5))
    both = Joined([dataset.train, dataset.validation])
    with pytest.raises(UserError, match=r"images/1\.png cannot be read \(Too many levels of symbolic links\)"):
        check_source(both, dataset.info)
