"""NYU Depth V2 in 40 classes, from its MATLAB files; the depth is not read.

    nyu_depth_v2_labeled.mat                 images and labels of 1,449 frames (MATLAB 7.3, which is HDF5)
    splits.mat                               trainNdxs and testNdxs, counted from 1
    classMapping40.mat or labels40.mat       which of 40 classes each of the 894 labels is; or the maps of 40 classes

0 is unlabelled and ignored; class = id − 1. HDF5 shows MATLAB's arrays with their axes in reverse.
"""

import functools
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from jaxtyping import Integer, UInt8

from rtseg_jax.data.class_file import shipped_info
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Description, Example, Source
from rtseg_jax.data.findings import BadFile, Finding
from rtseg_jax.data.label_table import UNKNOWN, LabelTable
from rtseg_jax.errors import UserError

LABELED, MAPPING, LABELS, SPLITS_FILE = "nyu_depth_v2_labeled.mat", "classMapping40.mat", "labels40.mat", "splits.mat"
INFO = shipped_info("nyuv2", licence="none stated; research")
HOLDS = f"the folder that holds {LABELED}, {SPLITS_FILE} and {MAPPING} or {LABELS}"
SPLITS = ("train", "test")
_INDICES = {"train": "trainNdxs", "test": "testNdxs"}


def read(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """One split, in the order of splits.mat.

    Raises:
      UserError: a file is missing, cannot be read, or is a copy with depth and without labels.
    """
    assert spec.data_dir is not None
    root = Path(spec.data_dir).expanduser()
    _require(root)
    numbers = matlab_variable(root / SPLITS_FILE, _INDICES[split]).ravel().astype(np.int64) - 1
    return NyuSource(root, numbers.tolist(), info.labels), ()


def _require(root: Path) -> None:
    if any(root.glob("**/*.h5")) and not (root / LABELED).is_file():
        raise UserError(f"{root} holds the copy with depth only, which has no labels; data_dir must be {HOLDS}")
    for name in (LABELED, SPLITS_FILE):
        if not (root / name).is_file():
            raise UserError(f"{root / name} is missing; data_dir must be {HOLDS}")
    if not any((root / name).is_file() for name in (MAPPING, LABELS)):
        raise UserError(
            f"{root} has neither {MAPPING} nor {LABELS}, which give the 40 classes; data_dir must be {HOLDS}"
        )


class NyuSource:
    """Frames of the MATLAB files. An open file stays behind when the source is pickled."""

    def __init__(self, root: Path, numbers: Sequence[int], labels: LabelTable):
        self._root, self._numbers, self._labels = root, tuple(numbers), labels
        self._mapped = (root / MAPPING).is_file()
        self._file = _Hdf5(root / LABELED)
        shape = self._file.array("images", None).shape
        frames = shape[0] if len(shape) == 4 else 0
        if outside := [number + 1 for number in numbers if not 0 <= number < frames]:
            where = root / SPLITS_FILE
            raise UserError(f"{where} names frame {outside[0]}, but {LABELED} has {frames}; download both again")

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Example:
        number = self._numbers[index]
        image = self._file.array("images", number).transpose(2, 1, 0)
        ids = self._mapped_ids(number) if self._mapped else _label_maps(self._root / LABELS)[number]
        label = self._labels.from_ids(ids)
        if (label == UNKNOWN).any():
            wrong = ids[label == UNKNOWN][0]
            what = f"has the id {wrong} in frame {number + 1}, which no class has"
            raise BadFile(self.describe(index).label, what, f"say what is meant: --config.data.ids={wrong}=ignore")
        return {"image": np.ascontiguousarray(image), "label": np.ascontiguousarray(label)}

    def _mapped_ids(self, number: int) -> Integer[np.ndarray, "h w"]:
        raw = self._file.array("labels", number).T
        mapping = _mapping(self._root / MAPPING)
        if (largest := int(raw.max())) >= len(mapping):
            what = f"has the label {largest} in frame {number + 1}, of which {MAPPING} says nothing"
            raise BadFile(str(self._root / LABELED), what, f"use the {MAPPING} of all {largest} labels or more")
        return mapping[raw]

    def describe(self, index: int) -> Description:
        """The number of the frame, counted from 1 as the publishers do."""
        number = self._numbers[index] + 1
        labels = LABELED if self._mapped else LABELS
        return Description(f"{number:04d}", f"{self._root / LABELED}:{number}", f"{self._root / labels}:{number}")

    def fingerprint(self) -> str:
        """Digest of frames, of sizes and times of the files, and of what labels mean."""
        files = [path for name in (LABELED, MAPPING, LABELS) if (path := self._root / name).is_file()]
        stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return hashlib.sha256(repr((stamps, self._numbers, self._labels)).encode()).hexdigest()


class _Hdf5:
    """An HDF5 file that every process opens for itself."""

    def __init__(self, path: Path):
        self._path, self._lock, self._opened = path, threading.Lock(), None

    def array(self, name: str, number: int | None) -> Any:
        """The variable, or its part `number` of the last MATLAB axis.

        Raises:
          BadFile: it is not there or cannot be read.
        """
        try:
            with self._lock:  # a forked process must not share the offset of an open file
                if self._opened is None or self._opened[0] != os.getpid():
                    self._opened = (os.getpid(), h5py.File(self._path, "r"))
                variable = self._opened[1][name]
                return variable if number is None else variable[number]
        except KeyError as error:
            raise BadFile(str(self._path), f"has no variable {name}", f"download {self._path.name} again") from error
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BadFile(str(self._path), f"cannot be read ({reason})", f"download {self._path.name} again") from error

    _opened: tuple[int, h5py.File] | None

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_path"])  # type: ignore[misc]


def matlab_variable(path: Path, *names: str) -> np.ndarray:
    """The first of the variables that a MATLAB file has, with MATLAB's order of axes; of version 7.3 or an older one.

    Raises:
      BadFile: it has none of them, or cannot be read.
    """
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as content:
                found = next((content[name][()].T for name in names if name in content), None)
        else:
            loaded = scipy.io.loadmat(path)
            found = next((loaded[name] for name in names if name in loaded), None)
    except Exception as error:  # a damaged file may raise anything: it is parsed field by field
        reason = " ".join(str(error).split())
        raise BadFile(str(path), f"cannot be read ({reason})", "download it again") from error
    if found is None:
        raise BadFile(str(path), f"has no variable {' or '.join(names)}", "download it again")
    return found


# Kept here and not in the source: they would travel with each pickled one.
@functools.lru_cache(maxsize=1)
def _mapping(path: Path) -> Integer[np.ndarray, " n"]:
    """Id, 0 to 40, of each raw label; 0 stays 0."""
    return np.concatenate([[0], matlab_variable(path, "mapClass").ravel()]).astype(np.int64)


@functools.lru_cache(maxsize=1)
def _label_maps(path: Path) -> UInt8[np.ndarray, "n h w"]:
    """The maps of ids, 0 to 40: 445 MB for the whole set."""
    return matlab_variable(path, "labels40").transpose(2, 0, 1).astype(np.uint8)
