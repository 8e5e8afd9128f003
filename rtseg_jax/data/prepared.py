"""Prepared copies: decoded pictures and classes in ArrayRecord files, which need no decoding and no TensorFlow.

A folder is one if it holds `prepared.json`, which is written last. Beside it lie the shards of each split,
SPLIT-00000-of-00012.arrayrecord: one record per example, then one with the list of the examples.

A record is height and width as 32-bit integers, little-endian, the picture's bytes and the label's bytes. Labels are
classes of the whole data set. Which of them a run learns, `data.classes` says as for any other copy.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from rtseg_jax.data.class_choice import change_ids
from rtseg_jax.data.class_file import parse_classes
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Description, Example, Source
from rtseg_jax.data.findings import BadFile, Finding
from rtseg_jax.data.label_table import UNKNOWN, LabelTable
from rtseg_jax.data.quiet_grain import grain
from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE

CONTENTS = "prepared.json"
FORMAT = 1
_SIZES = struct.Struct("<II")


def to_record(example: Example) -> bytes:
    """The bytes of an example."""
    return _SIZES.pack(*example["label"].shape) + example["image"].tobytes() + example["label"].tobytes()


def from_record(record: bytes) -> Example:
    """The example of such bytes; its arrays are read-only.

    Raises:
      ValueError: bytes of another length than their sizes say.
    """
    height, width = _SIZES.unpack_from(record)
    pixels = height * width
    if len(record) != _SIZES.size + 4 * pixels:
        raise ValueError(f"{len(record)} bytes for a picture of {height}x{width}")
    image = np.frombuffer(record, np.uint8, 3 * pixels, _SIZES.size).reshape(height, width, 3)
    label = np.frombuffer(record, np.uint8, pixels, _SIZES.size + 3 * pixels).reshape(height, width)
    return {"image": image, "label": label}


def is_prepared(data_dir: str | Path) -> bool:
    """Whether a folder is a prepared copy."""
    return (Path(data_dir).expanduser() / CONTENTS).is_file()


def info(spec: DataSpec, known: DatasetInfo | None) -> DatasetInfo:
    """The classes that a copy was prepared with; licence and rule of evaluation are those of the `known` data set."""
    folder, contents = _open(spec)
    recorded = _recorded(spec.name, folder, contents)
    if known is not None:
        recorded = replace(recorded, licence=known.licence, rule=known.rule)
    return change_ids(recorded, spec.ids)


def read(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """One split of a prepared copy.

    Raises:
      UserError: a split that was not prepared, a shard that is missing or cut off, or label ids that `spec.ids` gives a
        meaning that can no longer be told apart.
    """
    folder, contents = _open(spec)
    if split not in contents["splits"]:
        raise UserError(
            f"{folder} was prepared with {', '.join(contents['splits'])}, without {split}; prepare {split} as well, "
            f"with --splits={split}"
        )
    part = contents["splits"][split]
    for shard in part["shards"]:
        path = folder / shard["file"]
        size = path.stat().st_size if path.is_file() else None
        if size != shard["bytes"]:
            what = "is missing" if size is None else f"has {size} bytes instead of {shard['bytes']}"
            raise UserError(f"{path} {what}; remove {folder} and prepare the data set again")
    classes = class_map(_recorded(spec.name, folder, contents).labels, info.labels, str(folder))
    return PreparedSource(folder, part, contents["digest"], classes), ()


class PreparedSource:
    """Examples of a split; `classes` says what each prepared class has become."""

    def __init__(self, folder: Path, part: Mapping[str, Any], digest: str, classes: UInt8[np.ndarray, "256"]):
        self._folder, self._shards, self._digest, self._classes = folder, part["shards"], digest, classes
        self._examples = part["examples"]
        paths = [f"{folder / shard['file']}[0:{shard['examples']}]" for shard in self._shards]
        self._records = grain.sources.ArrayRecordDataSource(paths)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        try:
            example = from_record(self._records[index])
        except (RuntimeError, ValueError, struct.error) as error:  # checksums are part of the files
            reason = " ".join(str(error).split())
            what = f"cannot be read from its prepared copy in {self._folder} ({reason})"
            raise BadFile(self.describe(index).name, what, "remove the copy and prepare it again") from error
        return {"image": example["image"], "label": cv2.LUT(example["label"], self._classes)}  # 6 times NumPy's speed

    def describe(self, index: int) -> Description:
        """Name of an example, and the files that it was prepared from."""
        return Description(*self._examples[index])

    def fingerprint(self) -> str:
        """Digest of what was prepared, of the shards' sizes and times, and of what classes have become."""
        times = [(self._folder / shard["file"]).stat().st_mtime_ns for shard in self._shards]
        content = repr((self._digest, self._shards, times, self._classes.tolist()))
        return hashlib.sha256(content.encode()).hexdigest()


def class_map(prepared: LabelTable, wanted: LabelTable, where: str) -> UInt8[np.ndarray, "256"]:
    """What each class of `prepared` is in `wanted`, where both say it of the same ids and colours.

    Raises:
      UserError: ids that share a class in `prepared` do not in `wanted`.
    """
    result = np.full(256, UNKNOWN, np.uint8)
    tables: tuple[tuple[Mapping[Any, int], Mapping[Any, int]], ...] = (
        (prepared.ids, wanted.ids),
        (prepared.colours, wanted.colours),
    )
    for old, new in tables:
        for raw, index in old.items():
            if result[index] not in (UNKNOWN, new.get(raw, UNKNOWN)) or raw not in new:
                raise UserError(
                    f"config.data.ids changes the id or colour {raw}, which {where} no longer tells apart; prepare the "
                    "data set with --ids, or name the folder it was prepared from"
                )
            result[index] = new[raw]
    if result[IGNORE] == UNKNOWN:
        result[IGNORE] = IGNORE
    return result


def read_contents(folder: Path) -> dict[str, Any]:
    """What prepared.json says.

    Raises:
      UserError: it cannot be read, or is of another version.
    """
    file = folder / CONTENTS
    try:
        contents = json.loads(file.read_text(encoding="utf-8"))
        version = contents["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read; remove {folder} and prepare the data set again") from error
    if version != FORMAT:
        raise UserError(f"{folder} was prepared by another version; remove it and prepare the data set again")
    return contents


def _open(spec: DataSpec) -> tuple[Path, dict[str, Any]]:
    assert spec.data_dir is not None
    folder = Path(spec.data_dir).expanduser()
    contents = read_contents(folder)
    if (name := contents["data_set"]) != spec.name:
        raise UserError(f"{folder} is a prepared copy of {name}, not of {spec.name}; set --config.data.name={name}")
    return folder, contents


def _recorded(name: str, folder: Path, contents: dict[str, Any]) -> DatasetInfo:
    return parse_classes(name, contents["classes"], str(folder / CONTENTS))
