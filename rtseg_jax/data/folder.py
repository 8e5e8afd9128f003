"""A folder of one's own: pictures, labels, and a small classes.json or nothing at all.

Which label belongs to which picture is a pair of patterns, in which * stands for what both names have in common:
`images/* masks/*`, `*.jpg *_mask.png`, `rgb/frame_*.jpg gt/label_*.png`. Where `data.pairs` gives none, those of
`PATTERNS` are tried. Endings may be left out. A list file with `image label` on each line needs no pattern.

The split comes from list files (train.txt, val.txt, test.txt), else from folders of these names in the paths, else from
chance: `data.validation_share` of the pictures, the same ones for the same `seed` and names.

Classes come from classes.json (see `class_file`), else from `data.ids`, else the ids or colours found are the classes.
"""

import dataclasses
import hashlib
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rich.console import Console
from rich.progress import track

from rtseg_jax.data.checking import two_class_mask
from rtseg_jax.data.class_choice import change_ids, classes_of_ids
from rtseg_jax.data.class_file import parse_classes, read_classes, to_json, voc_colour
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Source
from rtseg_jax.data.decoding import read_label
from rtseg_jax.data.findings import BadFile, Finding
from rtseg_jax.data.label_table import Colour, LabelTable, packed, unpacked
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.pairing import (
    IMAGE_ENDINGS,
    LABEL_ENDINGS,
    Pairing,
    has_ending,
    listed_pairs,
    pair_up,
    stem,
)
from rtseg_jax.data.remembering import recall, remember
from rtseg_jax.data.storage import Below, Files, open_files
from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE

HOLDS = "the folder with your pictures and labels, for example in images/ and labels/"
SPLITS = ("train", "validation", "test")
CLASS_FILE = "classes.json"
MOST_COLOURS = 64
"""More different colours than this are no classes: the masks were smoothed, or are photographs."""
MOST_IDS = 254
"""So many classes a label map can hold."""

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_IMAGE_WORDS = ("images", "image", "imgs", "img", "pictures", "rgb", "JPEGImages")
_LABEL_WORDS = ("labels", "label", "masks", "mask", "annotations", "annotation", "gt", "SegmentationClass")
_SUFFIXES = ("_mask", "_label", "_labels", "_gt", "_seg", "_L")

PATTERNS = (
    *((f"{image}/*", f"{label}/*") for image in _IMAGE_WORDS for label in _LABEL_WORDS),
    *((f"*/{image}/*", f"*/{label}/*") for image in _IMAGE_WORDS for label in _LABEL_WORDS),
    ("*/*", "*annot/*"),
    *((f"{image}/*", f"{label}/*{suffix}") for image in _IMAGE_WORDS for label in _LABEL_WORDS for suffix in _SUFFIXES),
    *(("*", f"*{suffix}") for suffix in _SUFFIXES),
)
"""(pictures, labels), tried in this order; the first that finds a pair is taken."""


def info(spec: DataSpec) -> DatasetInfo:
    """Classes from classes.json, or from `data.ids`, or from the labels: these are read once, until one changes."""
    assert spec.data_dir is not None
    files = open_folder(spec.data_dir)
    if CLASS_FILE in files:
        return change_ids(read_classes("folder", files.read(CLASS_FILE), files.where(CLASS_FILE)), spec.ids)
    if spec.ids:
        return classes_of_ids("folder", spec.ids)
    labels = {pair.label for pairing in _as_found(files, spec).values() for pair in pairing.pairs}
    return found_classes(files, sorted(labels), spec.bad)


def read(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """One split."""
    assert spec.data_dir is not None
    files = open_folder(spec.data_dir)
    found = divided(files, spec)[split].checked(spec.bad)
    if not found.pairs:
        raise UserError(
            f"{files.where('')} has no pictures of the split {split}; add them, or a list {_SPLIT_WORDS[split][0]}.txt"
        )
    return PairSource(files, found.pairs, info.labels), found.findings


def open_folder(data_dir: str) -> Files:
    """The files of a folder or an archive; where all of them lie in one folder `NAME`, those in there."""
    files = open_files(data_dir)
    tops = {name.partition("/")[0] for name in files.names()}
    if len(tops) == 1 and (top := tops.pop()) not in files and not _means_something(top):
        return Below(files, top)
    return files


def _means_something(folder: str) -> bool:
    words = (*_IMAGE_WORDS, *_LABEL_WORDS, *(word for words in _SPLIT_WORDS.values() for word in words))
    return folder in words


def divided(files: Files, spec: DataSpec) -> dict[str, Pairing]:
    """The pairs of each split; from lists, from folders, or by chance."""
    splits = _as_found(files, spec)
    if not splits["validation"].pairs and "validation" in f"{spec.train_split}+{spec.validation_split}":
        splits |= by_chance(splits["train"], spec.validation_share, spec.seed)
    return splits


def _as_found(files: Files, spec: DataSpec) -> dict[str, Pairing]:
    names = files.names()
    lists = {
        split: next((f"{word}.txt" for word in words if f"{word}.txt" in names), None)
        for split, words in _SPLIT_WORDS.items()
    }
    if any(lists.values()):
        of_list = _reader_of_lists(files, names, spec)
        return {split: of_list(listing) if listing else Pairing(()) for split, listing in lists.items()}
    return _by_folder(files, pairs_of(files, names, spec.pairs))


def by_chance(whole: Pairing, share: float, seed: int) -> dict[str, Pairing]:
    """Training and validation pictures; a picture's place depends on its name and the seed only, but for the last ones.

    Raises:
      UserError: a share that leaves one of the two empty.
    """
    number = round(share * len(whole.pairs))
    if not 0 < number < len(whole.pairs):
        raise UserError(
            f"config.data.validation_share is {share:g} of {len(whole.pairs)} pictures, which leaves nothing to train "
            "on or nothing to score; choose another share, or add pictures"
        )
    drawn = sorted(whole.pairs, key=lambda pair: hashlib.sha256(f"{seed} {pair.name}".encode()).digest())
    scored = {pair.name for pair in drawn[:number]}
    return {
        "train": Pairing(tuple(pair for pair in whole.pairs if pair.name not in scored), whole.findings),
        "validation": Pairing(tuple(pair for pair in whole.pairs if pair.name in scored)),
    }


def pairs_of(files: Files, names: Sequence[str], pattern: str) -> Pairing:
    """All pairs by the given patterns, or by the first of `PATTERNS` that finds one.

    Raises:
      UserError: no pair, with what was tried.
    """
    if pattern:
        tried = _two_patterns(pattern)
        found = _matched(files, names, *tried)
        if not found.pairs:
            first = f"; the first that is alone: {found.findings[0].file}" if found.findings else ""
            raise UserError(
                f"{files.where('')}: no picture {tried[0]} has a label {tried[1]}{first}; correct --config.data.pairs"
            )
        return found
    folders = {part for name in names for part in name.split("/")[:-1]}
    for tried in PATTERNS:
        if all(_folders_exist(side, folders) for side in tried):
            found = _matched(files, names, *tried)
            if found.pairs:
                return found
    pictures = sum(has_ending(name, IMAGE_ENDINGS) for name in names)
    raise UserError(
        f"{files.where('')} holds {pictures} pictures, but none with a label as in images/* labels/*, */images/* "
        "*/labels/*, train/* trainannot/* or * *_mask; say how they are called, as "
        "--config.data.pairs='photos/*.jpg truth/*_label.png'"
    )


def found_classes(files: Files, labels: Sequence[str], bad: str) -> DatasetInfo:
    """The ids that the labels hold as classes, 255 ignored; or their colours, where one of them is in colours.

    Raises:
      UserError: labels of 0 and 255 only, a single id, or so many colours that they cannot be classes.
    """
    stamps = "".join(f"{files.where(name)}\0{files.stamp(name)}\n" for name in labels)
    mark = hashlib.sha256(stamps.encode(errors="surrogateescape")).hexdigest()
    value = recall("classes", mark)
    if value is None:
        found = _looked_at(files, labels, bad)
        value = to_json(_of_colours(files, labels, found) if found.colours else _of_ids(files, labels, found))
        print(f"{files.where('')} has no {CLASS_FILE}: its classes are {', '.join(value['classes'])}", file=sys.stderr)
        remember("classes", mark, value)
    return parse_classes("folder", value, files.where(""))


@dataclasses.dataclass(frozen=True)
class _Found:
    """What label files hold: ids, their colours in a palette, and colours per pixel where they are no greys."""

    ids: frozenset[int] = frozenset()
    palette: tuple[tuple[int, Colour], ...] = ()
    colours: frozenset[int] = frozenset()


def _looked_at(files: Files, labels: Sequence[str], bad: str) -> _Found:
    def look(name: str) -> _Found:
        try:
            raw = read_label(files.read(name), files.where(name))
        except BadFile:
            if bad == "refuse":
                raise
            return _Found()
        if raw.ids is None:
            assert raw.colours is not None
            return _Found(colours=frozenset(np.unique(packed(raw.colours)).tolist()))
        ids = np.unique(raw.ids).tolist()
        palette = [] if raw.palette is None else [(index, unpacked(int(packed(raw.palette)[index]))) for index in ids]
        return _Found(frozenset(ids), tuple(palette))

    console = Console(file=sys.stderr)
    with ThreadPoolExecutor() as pool:
        looked = pool.map(look, labels)
        bar = track(looked, "finding classes", len(labels), console=console, disable=not console.is_terminal)
        all_found = list(bar)
    return _Found(
        frozenset().union(*(found.ids for found in all_found)),
        tuple(dict(entry for found in reversed(all_found) for entry in found.palette).items()),
        frozenset().union(*(found.colours for found in all_found)),
    )


def _of_ids(files: Files, labels: Sequence[str], found: _Found) -> DatasetInfo:
    where = files.where(labels[0])
    if found.ids == {0, IGNORE}:
        raise UserError(two_class_mask(where, "background", "foreground").line)
    ids = sorted(found.ids - {IGNORE})
    if len(ids) < 2:
        raise UserError(f"{where} and all other labels hold one id only, {sorted(found.ids)}; two classes are needed")
    if len(ids) > MOST_IDS:
        raise UserError(
            f"the labels beside {where} hold {len(ids)} different ids, up to {ids[-1]}, which looks like numbers of "
            f"instances; say in {CLASS_FILE} what they mean"
        )
    painted = dict(found.palette)
    palette = tuple(painted.get(raw, voc_colour(number + 1)) for number, raw in enumerate(ids))
    table = LabelTable({**{raw: index for index, raw in enumerate(ids)}, IGNORE: IGNORE})
    return DatasetInfo("folder", tuple(f"id {raw}" for raw in ids), palette, table)


def _of_colours(files: Files, labels: Sequence[str], found: _Found) -> DatasetInfo:
    painted = dict(found.palette)
    grey = {(raw, raw, raw) for raw in found.ids if raw <= 255 and raw not in painted}
    colours = sorted({unpacked(colour) for colour in found.colours} | set(painted.values()) | grey)
    if not 2 <= len(colours) <= MOST_COLOURS:
        raise UserError(
            f"the labels beside {files.where(labels[0])} hold {len(colours)} different colours, not 2 to "
            f"{MOST_COLOURS}: were they smoothed? Give the true ones in {CLASS_FILE}, and save labels without smoothing"
        )
    names = tuple("#" + bytes(colour).hex() for colour in colours)
    table = LabelTable({}, {colour: index for index, colour in enumerate(colours)})
    return DatasetInfo("folder", names, tuple(colours), table)


def _reader_of_lists(files: Files, names: Sequence[str], spec: DataSpec) -> Callable[[str], Pairing]:
    """Reads list files; the labels of lines that name a picture only are found by pattern."""
    label_of: dict[str, str] = {}

    def partner(image: str) -> str:
        if not label_of:
            label_of.update({pair.image: pair.label for pair in pairs_of(files, names, spec.pairs).pairs})
        return label_of.get(image, f"{stem(image)} with a label")

    return lambda listing: listed_pairs(files, listing, _list_folders(files, names), partner)


def _list_folders(files: Files, names: Sequence[str]) -> tuple[str, str]:
    """Folders that bare names of a list may lie in."""
    folders = {name.split("/")[0] for name in names if "/" in name}
    image, label = (next((word for word in words if word in folders), "") for words in (_IMAGE_WORDS, _LABEL_WORDS))
    return image, label


def _by_folder(files: Files, whole: Pairing) -> dict[str, Pairing]:
    """Pairs by the first folder in the picture's path that is named after a split; the rest is for training."""
    root = files.where("")

    def split_of(path: str) -> str:
        parts = [part.lower().removesuffix("annot") for part in path.removeprefix(root).split("/")[:-1]]
        return next((split for part in parts for split, words in _SPLIT_WORDS.items() if part in words), "train")

    return {
        split: Pairing(
            tuple(pair for pair in whole.pairs if split_of(pair.image) == split),
            tuple(finding for finding in whole.findings if split_of(finding.file) == split),
        )
        for split in SPLITS
    }


def _two_patterns(pattern: str) -> tuple[str, str]:
    parts = shlex.split(pattern)
    if len(parts) != 2 or any("*" not in part for part in parts) or parts[0].count("*") != parts[1].count("*"):
        raise UserError(
            f"config.data.pairs is {pattern!r}; write a pattern of pictures and one of labels with as many *, as "
            "'images/* masks/*'"
        )
    return parts[0], parts[1]


def _folders_exist(pattern: str, folders: set[str]) -> bool:
    """Whether some folder is called so: spares matching every name with hundreds of patterns."""
    literal = [part.replace("*", "") for part in pattern.split("/")[:-1]]
    return all(any(folder.endswith(part) for folder in folders) for part in literal)


def _matched(files: Files, names: Sequence[str], images: str, labels: str) -> Pairing:
    image, label = _compiled(images, IMAGE_ENDINGS), _compiled(labels, LABEL_ENDINGS)

    def key_of_label(name: str) -> str | None:
        match = label.fullmatch(name)
        return "/".join(match.groups()) if match else None

    def key_of_image(name: str) -> str | None:
        match = image.fullmatch(name)
        return "/".join(match.groups()) if match and label.fullmatch(name) is None else None

    if not any(map(key_of_image, names)) and not any(map(key_of_label, names)):
        return Pairing(())
    return pair_up(files, names, names, key_of_image, key_of_label, (images, labels))


def _compiled(pattern: str, endings: Sequence[str]) -> "re.Pattern[str]":
    any_ending = "" if has_ending(pattern, endings) else f"(?:{'|'.join(map(re.escape, endings))})"
    return re.compile("(.+)".join(map(re.escape, pattern.split("*"))) + any_ending, re.IGNORECASE)
