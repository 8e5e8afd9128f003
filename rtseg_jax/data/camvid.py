"""CamVid in both forms that circulate; which one a folder holds is seen from its folders.

SegNet's copy, 480×360, labels of 11 ids, 11 = void:

    train/NAME.png  trainannot/NAME.png  val/ valannot/ test/ testannot/  with or without train.txt val.txt test.txt

The original, 960×720, labels of 32 colours, which become the same 11 classes (classes/camvid.json has the grouping):

    701_StillsRaw_full/NAME.png  LabeledApproved_full/NAME_L.png, or pictures and labels in one folder or any others

SegNet's lists divide it where they lie beside it as train.txt, val.txt and test.txt. Without them the names of the
frames do, with the same result (`segnet_split`).
"""

from pathlib import PurePosixPath

from rtseg_jax.data.class_file import shipped_info
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Source
from rtseg_jax.data.findings import Finding
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.pairing import Pair, Pairing, listed_pairs, pair_up, stem
from rtseg_jax.data.storage import Files, open_files
from rtseg_jax.errors import UserError

INFO = shipped_info("camvid", licence="480×360 copy: CC BY-NC 4.0; original: research, to be cited")
HOLDS = (
    "the folder that holds train/, trainannot/, val/ and valannot/, or the original's pictures and NAME_L.png labels"
)
SPLITS = ("train", "validation", "test")
_SHORT = {"train": "train", "validation": "val", "test": "test"}
_LISTS = {"train": ("train.txt",), "validation": ("val.txt", "valid.txt"), "test": ("test.txt",)}


def read(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """One split of whichever form the folder holds."""
    assert spec.data_dir is not None
    files = open_files(spec.data_dir)
    listing = next((name for name in _LISTS[split] if name in files), None)
    if any(files.names(f"{short}annot") for short in _SHORT.values()):
        found = _copy(files, _SHORT[split], listing)
    else:
        found = _original(files, split, listing)
    found = found.checked(spec.bad)
    return PairSource(files, found.pairs, info.labels), found.findings


def segnet_split(frame: str) -> str:
    """The split in which SegNet has a frame of the original, from the frame's name; equal to its lists."""
    sequence, _, number = frame.partition("_")
    digits = int("".join(filter(str.isdecimal, number)) or 0)
    if sequence == "Seq05VD" or (sequence == "0001TP" and digits >= 8550):
        return "test"
    return "validation" if sequence == "0016E5" and 7959 <= digits <= 8159 and digits % 2 else "train"


def _copy(files: Files, short: str, listing: str | None) -> Pairing:
    folders = (short, f"{short}annot")
    if listing is not None:
        return listed_pairs(files, listing, folders, lambda image: f"{folders[1]}/{_base(image)}.png", _base)
    images, labels = (tuple(name for name in files.names(folder) if name.endswith(".png")) for folder in folders)
    for folder, names in zip(folders, (images, labels), strict=True):
        if not names:
            raise UserError(f"{files.where(folder)} holds no .png files; data_dir must be {HOLDS}")
    return pair_up(files, images, labels, _base, _base, (f"{short}/NAME.png", f"{short}annot/NAME.png"))


def _original(files: Files, split: str, listing: str | None) -> Pairing:
    pictures = [name for name in files.names() if name.endswith(".png")]
    if not any(name.endswith("_L.png") for name in pictures):
        raise UserError(f"{files.where('')} holds no CamVid; data_dir must be {HOLDS}")
    found = pair_up(files, pictures, pictures, _frame, _labelled_frame, ("NAME.png", "NAME_L.png"))
    if listing is None:
        pairs = tuple(pair for pair in found.pairs if segnet_split(pair.name) == split)
        alone = tuple(finding for finding in found.findings if segnet_split(_base(finding.file)) == split)
        return Pairing(pairs, alone)
    by_name = {pair.name: pair for pair in found.pairs}
    return _picked(files, listing, by_name)


def _picked(files: Files, listing: str, by_name: dict[str, Pair]) -> Pairing:
    """The pairs that a list names, by the frame alone: its paths are those of the copy."""
    lines = files.read(listing).decode("utf-8-sig").splitlines()
    frames = [_base(line.split()[0]) for line in lines if line.strip()]
    missing = tuple(
        Finding(
            files.where(listing),
            f"lists {frame}, of which {frame}.png or {frame}_L.png is missing",
            "add the file or remove the line; --config.data.bad=skip leaves it out",
        )
        for frame in frames
        if frame not in by_name
    )
    return Pairing(tuple(by_name[frame] for frame in frames if frame in by_name), missing)


def _base(name: str) -> str:
    return PurePosixPath(stem(name)).name


def _frame(name: str) -> str | None:
    return None if name.endswith("_L.png") else _base(name)


def _labelled_frame(name: str) -> str | None:
    return _base(name).removesuffix("_L") if name.endswith("_L.png") else None
