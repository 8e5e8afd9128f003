"""Prepared copies: equal to direct reading, resumed without reading twice, never half-written and taken for whole."""

import collections
import json
import os
import pickle
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from layouts import names, picture, write

from rtseg_jax import prepare_data
from rtseg_jax.data import DataSpec, build_dataset, build_split, dataset_info, describe_example, training_batches
from rtseg_jax.data.augmentation import resize
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.preparing import prepare
from rtseg_jax.errors import UserError

LABELS = np.array([[7, 26, 27, 3], [9, 24, 33, 8]], np.uint8)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr("rtseg_jax.data.preparing.SHARD", 2)


@pytest.fixture
def root(tmp_path):
    """Five training pictures of different sizes, one to score, void labels of test."""
    rng = np.random.default_rng(0)
    for split, city, count in (("train", "aachen", 5), ("val", "lindau", 1), ("test", "berlin", 1)):
        for number in range(count):
            frame = f"{city}/{city}_{number:06d}_000019"
            label = np.tile(LABELS, (number + 1, 1))
            image = rng.integers(0, 256, (*label.shape, 3), np.uint8)
            write(tmp_path / f"cityscapes/leftImg8bit/{split}/{frame}_leftImg8bit.png", image)
            write(tmp_path / f"cityscapes/gtFine/{split}/{frame}_gtFine_labelIds.png", label)
    return tmp_path / "cityscapes"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "prepared"


@pytest.fixture
def reads(monkeypatch):
    """How often each training picture was decoded; `reads.stop_at` names one that ends the command."""
    counter = collections.Counter()
    decode = PairSource.__getitem__

    def counted(source, index):
        name = source.describe(index).name
        counter[name] += 1
        if name == counter.stop_at:
            raise KeyboardInterrupt
        return decode(source, index)

    counter.stop_at = None
    monkeypatch.setattr(PairSource, "__getitem__", counted)
    return counter


def spec_of(data_dir, **fields):
    return DataSpec("cityscapes", data_dir=str(data_dir), **fields)


def command(*arguments):
    """Runs the command in this process; its exit status."""
    return prepare_data.COMMAND.execute([*map(str, arguments)], "prepare_data")


def assert_equal(copy, direct):
    assert len(copy) == len(direct)
    for index in range(len(direct)):
        assert describe_example(copy, index) == describe_example(direct, index)
        for key in ("image", "label"):
            np.testing.assert_array_equal(copy[index][key], direct[index][key])


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_copy_is_read_like_the_source_bit_for_bit(root, out, capsys):
    assert command("--dataset=cityscapes", f"--source={root}", f"--out={out}") == 0  # as the flag was called at first
    said = capsys.readouterr()
    assert "without the split test: the published labels of Cityscapes' test split are void" in said.err
    assert f"{out}: 5 of train, 1 of validation; 0.00 GB. Licence: own terms" in said.out
    shards = [f"train-0000{n}-of-00003.arrayrecord" for n in range(3)]
    assert listing(out) == ["prepared.json", *shards, "validation-00000-of-00001.arrayrecord"]
    direct, copy = build_dataset(spec_of(root)), build_dataset(spec_of(out))
    assert copy.info == direct.info
    for split in ("train", "validation"):
        assert_equal(getattr(copy, split), getattr(direct, split))


def test_classes_are_picked_from_the_copy(root, out):
    prepare(spec_of(root), out)
    for fields in ({"classes": ("vehicle=car+truck", "road")}, {"classes": ("person",), "rest": "other"}):
        direct, copy = build_dataset(spec_of(root, **fields)), build_dataset(spec_of(out, **fields))
        assert copy.info == direct.info
        assert_equal(copy.train, direct.train)


def test_ids_are_chosen_when_preparing(root, out):
    prepare(spec_of(root, ids="9=road,27=car"), out)
    direct = build_dataset(spec_of(root, ids="9=road,27=car"))
    for ids in ("", "9=road"):
        copy = build_dataset(spec_of(out, ids=ids))
        assert copy.info == direct.info
        assert_equal(copy.train, direct.train)
    assert build_dataset(spec_of(out, ids="7=wall,9=wall")).train[0]["label"][0, 0] == 3  # the whole class moves
    for ids in ("9=ignore", "3=sky"):
        with pytest.raises(UserError, match=r"config\.data\.ids changes the id or colour \d+, which"):
            build_dataset(spec_of(out, ids=ids))


def test_batches_are_those_of_the_source(root, out):
    prepare(spec_of(root), out)
    fields = {"train_size": (4, 4), "base_size": (8, 8), "brightness": 0.4}
    batches = []
    for data_dir in (root, out):
        spec = spec_of(data_dir, **fields)
        stream = training_batches(build_dataset(spec).train, spec, 2, seed=1, num_threads=2)
        batches.append([next(stream) for _ in range(3)])
    for one, other in zip(*batches, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["label"], other["label"])


def test_resized(root, out, capsys):
    assert command("--dataset=cityscapes", f"--source={root}", f"--output={out}", "--size=6x5", "--splits=train") == 0
    assert "Labels are resized: scores on this copy are not those" in capsys.readouterr().out
    direct, copy = build_split(spec_of(root), "train"), build_split(spec_of(out), "train")
    for index in range(5):
        expected = resize(direct[index], (6, 5))
        assert copy[index]["label"].shape == (6, 5)
        np.testing.assert_array_equal(copy[index]["image"], expected["image"])
        np.testing.assert_array_equal(copy[index]["label"], expected["label"])
    with pytest.raises(UserError, match="prepared with train, without validation; prepare validation as well"):
        build_split(spec_of(out), "validation")


@pytest.mark.parametrize("size", ["6", "6,x", "0,5", "1,2,3"])
def test_a_size_that_is_none(root, out, size, capsys):
    assert command("--dataset=cityscapes", f"--source={root}", f"--output={out}", f"--size={size}") == 2
    assert "it must be HEIGHTxWIDTH" in capsys.readouterr().err


def test_threads_and_other_processes_read_the_same(root, out):
    prepare(spec_of(root), out)
    source = build_split(spec_of(out), "train")
    here = [source[index]["image"] for index in range(5)]
    again = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(4) as pool:
        for index, image in enumerate(pool.map(lambda number: again[number % 5]["image"], range(100))):
            np.testing.assert_array_equal(image, here[index % 5])


def test_an_interrupted_command_goes_on_and_reads_nothing_twice(root, out, reads, capsys):
    arguments = ("--dataset=cityscapes", f"--source={root}", f"--output={out}")
    reads.stop_at = "aachen/aachen_000003_000019"  # in the second of three shards
    assert command(*arguments) == 130
    assert "interrupted: finished shards stay" in capsys.readouterr().err
    assert listing(out) == ["train-00000-of-00003.arrayrecord"]
    with pytest.raises(UserError, match="holds neither leftImg8bit/ and gtFine/ nor their zips"):
        build_dataset(spec_of(out))  # not taken for complete
    reads.clear()
    reads.stop_at = None
    assert command(*arguments) == 0
    first = [f"aachen/aachen_00000{number}_000019" for number in range(2)]
    assert [reads[name] for name in first] == [0, 0]
    assert sum(reads.values()) == 4
    reads.clear()
    assert command(*arguments) == 0  # complete
    assert not reads
    assert_equal(build_split(spec_of(out), "train"), build_split(spec_of(root), "train"))


def test_a_split_is_added_without_reading_the_others_again(root, out, reads):
    prepare(spec_of(root), out, ["train"])
    reads.clear()
    assert prepare(spec_of(root), out, ["validation"]).examples == {"train": 5, "validation": 1}
    assert dict(reads) == {"lindau/lindau_000000_000019": 1}
    assert len(build_dataset(spec_of(out)).train) == 5


def test_what_a_killed_command_left_is_written_again(root, out):
    out.mkdir()
    (out / ".train-00000-of-00003.arrayrecord.tmp").write_bytes(b"half")
    prepare(spec_of(root), out)
    assert not [name for name in listing(out) if name.startswith(".")]
    assert_equal(build_split(spec_of(out), "train"), build_split(spec_of(root), "train"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_leaves_nothing_that_looks_complete(root, out, capsys, monkeypatch):
    out.mkdir()
    monkeypatch.setattr("rtseg_jax.files.uuid.uuid4", lambda: uuid.UUID(int=0))
    monkeypatch.setattr("rtseg_jax.data.preparing.remove_remains", lambda folder: None)
    (out / f".train-00001-of-00003.arrayrecord.{12 * '0'}.tmp").symlink_to("/dev/full")
    assert command("--dataset=cityscapes", f"--source={root}", f"--output={out}") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {out} cannot be written (")
    assert "No space left on device" in line
    assert listing(out) == ["train-00000-of-00003.arrayrecord"]
    prepare(spec_of(root), out)
    assert_equal(build_split(spec_of(out), "train"), build_split(spec_of(root), "train"))


def test_a_disk_that_is_full_before_the_list_is_written(root, out, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rtseg_jax.data.preparing.write_text", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); make room"):
        prepare(spec_of(root), out)
    assert "prepared.json" not in listing(out)


def test_an_unwritable_folder(root, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command("--dataset=cityscapes", f"--source={root}", f"--output={tmp_path / 'file/below'}") == 2
    assert "below cannot be written (Not a directory); make room or name another --output" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [100, 65536])
def test_a_shard_that_was_cut_off_is_refused(root, out, cut):
    prepare(spec_of(root), out)
    shard = out / "train-00001-of-00003.arrayrecord"
    shard.write_bytes(shard.read_bytes()[:-cut])
    with pytest.raises(UserError, match=r"train-00001-of-00003\.arrayrecord has \d+ bytes instead of \d+; remove"):
        build_split(spec_of(out), "train")
    (out / "prepared.json").unlink()
    with pytest.raises(UserError, match=r"train-00001-of-00003\.arrayrecord is damaged \(.*\); remove it and start"):
        prepare(spec_of(root), out)
    shard.unlink()
    prepare(spec_of(root), out)
    assert_equal(build_split(spec_of(out), "train"), build_split(spec_of(root), "train"))


def test_a_changed_byte_is_noticed(root, out):
    prepare(spec_of(root), out)
    shard = out / "train-00001-of-00003.arrayrecord"
    content = bytearray(shard.read_bytes())
    content[150] ^= 255
    shard.write_bytes(content)
    source = build_split(spec_of(out), "train")
    with pytest.raises(UserError, match=r"aachen_000002_000019 cannot be read from its prepared copy in .* \("):
        source[2]
    assert source[0]["label"].shape == (2, 4)


def test_shards_and_copies_of_something_else_are_not_gone_on_with(root, out):
    prepare(spec_of(root), out)
    with pytest.raises(UserError, match=r"train-00000.* was prepared from other data or settings"):
        prepare(spec_of(root), out, size=(2, 2))
    before = (out / "prepared.json").read_bytes()
    folder = out.with_name("own")  # eight to train on: shards have other names
    for number in range(9):
        picture(folder / f"images/{number}.png", 0)
        write(folder / f"labels/{number}.png", np.array([[0, 1, 1]] * 2, np.uint8))
    with pytest.raises(UserError, match=r"train-0000\d-of-00003\.arrayrecord was prepared from other data"):
        prepare(DataSpec("folder", data_dir=str(folder), validation_share=0.1), out)
    assert (out / "prepared.json").read_bytes() == before
    label = root / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    write(label, np.zeros((2, 4), np.uint8))
    os.utime(label, (1, 1))
    with pytest.raises(UserError, match=r"train-00000.* was prepared from other data or settings"):
        prepare(spec_of(root), out)


def test_bad_files_are_refused_or_skipped_by_name(root, out, capsys):
    label = root / "gtFine/train/aachen/aachen_000003_000019_gtFine_labelIds.png"
    label.write_bytes(b"")
    alone = root / "leftImg8bit/train/aachen/aachen_000009_000019_leftImg8bit.png"
    picture(alone, 0)
    arguments = ("--dataset=cityscapes", f"--source={root}", f"--output={out}", "--splits=train")
    assert command(*arguments) == 2
    assert "aachen_000009_000019_leftImg8bit.png is a picture without its label" in capsys.readouterr().err
    alone.unlink()
    assert command(*arguments) == 2
    assert "aachen_000003_000019_gtFine_labelIds.png is empty (0 bytes); replace" in capsys.readouterr().err
    assert listing(out) == ["train-00000-of-00003.arrayrecord"]
    out = out.with_name("skipping")
    picture(alone, 0)
    assert command(*arguments[:2], f"--output={out}", "--splits=train", "--bad=skip") == 0
    said = capsys.readouterr().out
    assert "aachen_000009_000019_leftImg8bit.png is a picture without" in said
    assert "aachen_000003_000019_gtFine_labelIds.png is empty" in said
    direct = build_split(spec_of(root, bad="skip"), "train")
    assert len(direct) == 4
    assert_equal(build_split(spec_of(out), "train"), direct)


def test_a_folder_keeps_its_classes_and_its_split(tmp_path, out):
    source = tmp_path / "own"
    for number in range(6):
        picture(source / f"images/p{number}.png", number)
        write(source / f"labels/p{number}.png", np.array([[0, 7, 300], [7, 7, 0]], np.uint16))
    (source / "classes.json").write_text(json.dumps({"classes": ["grass", "weed"], "ids": [0, [7, 300]]}))
    spec = DataSpec("folder", data_dir=str(source), seed=3)
    prepare(spec, out)
    copy, direct = DataSpec("folder", data_dir=str(out)), build_dataset(spec)
    assert dataset_info(copy) == direct.info
    assert_equal(build_split(copy, "train"), direct.train)
    assert names(build_split(copy, "validation")) == names(direct.validation)


def test_what_cannot_be_prepared_or_read(root, out, capsys):
    prepare(spec_of(root), out)
    with pytest.raises(UserError, match=r"is a prepared copy of cityscapes, not of camvid; set --config\.data\.name"):
        build_dataset(DataSpec("camvid", data_dir=str(out)))
    with pytest.raises(UserError, match="is the data set itself"):
        prepare(spec_of(root), root)
    with pytest.raises(UserError, match="the pictures of synthetic_streets are drawn"):
        prepare(DataSpec("synthetic_streets"), out)
    (out / "prepared.json").write_text("{")
    with pytest.raises(UserError, match=r"prepared\.json cannot be read; remove"):
        build_dataset(spec_of(out))
    assert command("--dataset=cityscapes", f"--source={root}") == 2
    assert "--output is missing" in capsys.readouterr().err
    assert command("--dataset=cityscape", f"--source={root}", f"--output={out}") == 2
    assert "did you mean 'cityscapes'" in capsys.readouterr().err


def test_reading_needs_no_tensorflow(root, out):
    prepare(spec_of(root), out)
    program = (
        "import sys; from rtseg_jax.data import DataSpec, build_split; "
        f"print(build_split(DataSpec('cityscapes', data_dir={str(out)!r}), 'train')[0]['label'].tolist()); "
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'tensorflow_datasets')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[[0, 13, 14, 255], [255, 11, 18, 1]]\n[]\n"
