"""From a `DataSpec` to a data set: one row for each."""

import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtseg_jax.data import (
    a2d2,
    ade20k,
    bdd100k,
    camvid,
    cityscapes,
    folder,
    kitti,
    nyuv2,
    prepared,
    voc2012,
)
from rtseg_jax.data.caching import CachedSource
from rtseg_jax.data.checking import bad_examples, note_good
from rtseg_jax.data.class_choice import change_ids, choose_classes
from rtseg_jax.data.class_file import read_classes
from rtseg_jax.data.dataset import Dataset, DatasetInfo, DataSpec, Source
from rtseg_jax.data.findings import Finding
from rtseg_jax.data.subset import Joined, Subset
from rtseg_jax.data.synthetic import StreetSource, streets_info
from rtseg_jax.errors import UserError
from rtseg_jax.files import Place

Reader = Callable[[DataSpec, DatasetInfo, str], tuple[Source, Sequence[Finding]]]
"""(spec, classes, split) → the examples of the split, and the findings of pictures or labels that are alone.

With `spec.bad` = refuse it raises the first such finding itself. `spec.data_dir` is given."""


@dataclass(frozen=True)
class Entry:
    """One row: a data set that this package knows.

    Attributes:
      title: its name, for people.
      info: classes; or the function that finds them out from what the spec names.
      splits: names of the parts that have labels, as `data.train_split` and `data.validation_split` name them.
      read: the reader; None where the pictures are drawn.
      holds: what `data_dir` must be, for those who have not given it.
    """

    title: str
    info: DatasetInfo | Callable[[DataSpec], DatasetInfo]
    splits: tuple[str, ...]
    read: Reader | None = None
    holds: str = ""

    @property
    def classes_in_files(self) -> bool:
        """Whether the classes are known only where the data are."""
        return callable(self.info) and self.read is not None


KNOWN: dict[str, Entry] = {
    "synthetic_streets": Entry("drawn streets", streets_info, ("train", "validation")),
    "camvid": Entry("CamVid", camvid.INFO, camvid.SPLITS, camvid.read, camvid.HOLDS),
    "cityscapes": Entry("Cityscapes", cityscapes.INFO, cityscapes.SPLITS, cityscapes.read, cityscapes.HOLDS),
    "folder": Entry("own pictures", folder.info, folder.SPLITS, folder.read, folder.HOLDS),
    "voc2012": Entry("PASCAL VOC 2012", voc2012.INFO, voc2012.SPLITS, voc2012.read, voc2012.HOLDS),
    "ade20k": Entry("ADE20K", ade20k.INFO, ade20k.SPLITS, ade20k.read, ade20k.HOLDS),
    "kitti": Entry("KITTI", kitti.INFO, kitti.SPLITS, kitti.read, kitti.HOLDS),
    "bdd100k": Entry("BDD100K", bdd100k.INFO, bdd100k.SPLITS, bdd100k.read, bdd100k.HOLDS),
    "a2d2": Entry("A2D2", a2d2.INFO, a2d2.SPLITS, a2d2.read, a2d2.HOLDS),
    "nyuv2": Entry("NYU Depth V2", nyuv2.INFO, nyuv2.SPLITS, nyuv2.read, nyuv2.HOLDS),
}


def entry_of(name: str) -> Entry:
    """The row of a data set; an unknown name raises a `UserError` that names the nearest."""
    if name in KNOWN:
        return KNOWN[name]
    nearest = difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=0.0)[0]
    raise UserError(f"unknown data set {name!r}; did you mean {nearest!r}? Known: {', '.join(KNOWN)}")


def dataset_info(spec: DataSpec) -> DatasetInfo:
    """Classes and colours of the data set that `spec` names, with its choice of classes and ids.

    For `folder` the files of `data_dir` are read: its classes.json, or else the labels, once.
    """
    entry = entry_of(spec.name)
    if not spec.stand_in and _is_prepared(spec):
        known = prepared.info(spec, None if callable(entry.info) else entry.info)
    elif not callable(entry.info):
        known = change_ids(entry.info, spec.ids)
    elif not entry.classes_in_files or spec.stand_in:
        known = streets_info(spec)  # what is drawn has classes of its own
    else:
        known = entry.info(_with_data_dir(spec, entry))
    return choose_classes(known, spec.classes, spec.rest)


def recorded_info(spec: DataSpec, path: Place) -> DatasetInfo | None:
    """The classes that a run recorded in the file `path`, where they cannot be known without the data; else None."""
    if not entry_of(spec.name).classes_in_files or not path.exists():
        return None
    return read_classes(spec.name, path.read_bytes(), str(path))


def build_dataset(spec: DataSpec, info: DatasetInfo | None = None) -> Dataset:
    """The data set that `spec` names, with its splits to train on and to score.

    Everything that can be checked without decoding is checked here. `info` spares finding the classes out again.
    """
    info = info or dataset_info(spec)
    both = set(split_names(spec.train_split)) & set(split_names(spec.validation_split))
    if both:
        raise UserError(
            f"config.data.train_split and validation_split both name {sorted(both)[0]!r}: scores on what was trained "
            "on mean nothing; name another split"
        )
    train, validation = (build_split(spec, split, info) for split in (spec.train_split, spec.validation_split))
    return Dataset(info, train, validation)


def build_split(spec: DataSpec, split: str, info: DatasetInfo | None = None) -> Source:
    """The examples of a split, or of several joined by +; with `spec.bad` = skip, without those that cannot be used.

    What is left out is said on the standard error output, one line per file.
    """
    info = info or dataset_info(spec)
    sources = [_one_split(spec, info, name) for name in split_names(split)]
    return CachedSource(sources[0] if len(sources) == 1 else Joined(sources))


def split_names(split: str) -> tuple[str, ...]:
    """The splits that a setting joins by +."""
    return tuple(name.strip() for name in split.split("+"))


def open_split(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """The examples of one split as they stand, and the findings of pictures or labels that are alone.

    Files are read as published or as prepared, whichever `data_dir` holds. With `spec.bad` = refuse the first such
    finding is raised. Nothing is decoded.
    """
    entry, drawn = entry_of(spec.name), _is_drawn(spec)
    if drawn and split in ("train", "validation"):
        count = spec.num_train if split == "train" else spec.num_validation
        return StreetSource(count, spec.drawn_size, spec.seed, split, info.num_classes), ()
    if split not in entry.splits:
        raise UserError(f"{spec.name} has no split {split!r} to train on or to score; it has {', '.join(entry.splits)}")
    assert entry.read is not None
    if spec.bad not in ("refuse", "skip"):
        raise UserError(f"config.data.bad is {spec.bad!r}; it is refuse or skip")
    read = prepared.read if _is_prepared(spec) else entry.read
    source, alone = read(_with_data_dir(spec, entry), info, split)
    return source, tuple(alone)


def _one_split(spec: DataSpec, info: DatasetInfo, split: str) -> Source:
    source, alone = open_split(spec, info, split)
    return source if spec.bad == "refuse" or _is_drawn(spec) else _usable(source, info, split, alone)


def _is_drawn(spec: DataSpec) -> bool:
    return spec.stand_in or spec.name == "synthetic_streets"


def _is_prepared(spec: DataSpec) -> bool:
    return spec.data_dir is not None and prepared.is_prepared(spec.data_dir)


def _with_data_dir(spec: DataSpec, entry: Entry) -> DataSpec:
    if spec.data_dir is None:
        raise UserError(f"{spec.name} needs --config.data.data_dir, {entry.holds}")
    return spec


def _usable(source: Source, info: DatasetInfo, split: str, alone: Sequence[Finding]) -> Source:
    bad = bad_examples(source, info, f"looking for bad files in {split}")
    for finding in (*alone, *bad.values()):
        print(f"skipped: {finding.line}", file=sys.stderr)
    if len(bad) == len(source):
        raise UserError(f"no picture of the split {split} can be used; correct what is named above")
    if not bad:
        return source
    usable = Subset(source, [index for index in range(len(source)) if index not in bad])
    note_good(usable, info)
    return usable
