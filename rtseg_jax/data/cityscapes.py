"""Cityscapes as downloaded: leftImg8bit and gtFine, unpacked or as the two zips, with raw label ids.

    leftImg8bit/{train,val}/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png
    gtFine/{train,val}/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png

The train ids that the official scripts write are not needed. Where a copy holds instance ids only, label ids are made
of them: ids from 1000 on are label id · 1000 + number.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Integer

from rtseg_jax.data.class_file import shipped_info
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Source
from rtseg_jax.data.findings import Finding
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.pairing import pair_up
from rtseg_jax.data.storage import Archives, Files, open_files
from rtseg_jax.errors import UserError

INFO = shipped_info("cityscapes", licence="own terms: non-commercial, no redistribution", rule="cityscapes")
HOLDS = "the folder that holds leftImg8bit/ and gtFine/, or leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip"
SPLITS = ("train", "validation", "test")
_FOLDERS = {"train": "train", "validation": "val"}
_IMAGE, _LABEL, _INSTANCE = "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_instanceIds.png"


def read(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """One split, cities and frames in order.

    Raises:
      UserError: the test split, whose published labels are empty; folders that are missing.
    """
    if split == "test":
        raise UserError(
            "the published labels of Cityscapes' test split are void, a score on them means nothing; score the split "
            "validation, or submit predictions to its server"
        )
    assert spec.data_dir is not None
    files, folder = open_cityscapes(spec.data_dir), _FOLDERS[split]
    labels = files.names(f"gtFine/{folder}")
    ending = _LABEL if any(name.endswith(_LABEL) for name in labels) else _INSTANCE
    if not any(name.endswith(ending) for name in labels):
        ending = _LABEL
    found = pair_up(
        files,
        files.names(f"leftImg8bit/{folder}"),
        labels,
        lambda name: _key(name, "leftImg8bit/", _IMAGE),
        lambda name: _key(name, "gtFine/", ending),
        (f"leftImg8bit/{folder}/CITY/FRAME{_IMAGE}", f"gtFine/{folder}/CITY/FRAME{ending}"),
    ).checked(spec.bad)
    transform = label_ids if ending == _INSTANCE else None
    return PairSource(files, found.pairs, info.labels, transform), found.findings


def open_cityscapes(data_dir: str | Path) -> Files:
    """The files of a folder, or of the zips that lie in it."""
    root = Path(data_dir).expanduser()
    if root.is_dir() and not (root / "leftImg8bit").is_dir() and not (root / "gtFine").is_dir():
        zips = [path for stem in ("leftImg8bit", "gtFine") for path in sorted(root.glob(f"{stem}*.zip"))]
        if zips:
            return Archives(zips)
        raise UserError(f"{root} holds neither leftImg8bit/ and gtFine/ nor their zips; data_dir must be {HOLDS}")
    return open_files(root)


def label_ids(instances: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
    """Label ids of instance ids."""
    ids = instances.astype(np.int32)  # a label without instances may be a file of 8 bits
    return np.where(ids >= 1000, ids // 1000, ids)


def _key(name: str, folder: str, ending: str) -> str | None:
    if not name.endswith(ending):
        return None
    in_split = name.removeprefix(folder).partition("/")[2]
    return in_split.removesuffix(ending)
