"""ADE20K in 150 classes, the copy ADEChallengeData2016; as a folder or as its zip.

    ADEChallengeData2016/images/{training,validation}/NAME.jpg
    ADEChallengeData2016/annotations/{training,validation}/NAME.png

Annotations are ids: 0 is anything else, ignored; class = id − 1. The full ADE20K (NAME_seg.png) and the instance set
(annotations_instance) are other data and refused.
"""

from pathlib import Path

from rtseg_jax.data.class_file import shipped_info
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Source
from rtseg_jax.data.decoding import RawLabel, read_label
from rtseg_jax.data.findings import BadFile, Finding
from rtseg_jax.data.layout import find_layout
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.pairing import pair_up, stem
from rtseg_jax.data.storage import Files, open_files
from rtseg_jax.errors import UserError

ARCHIVE = "ADEChallengeData2016.zip"
INFO = shipped_info("ade20k", licence="research and education; no redistribution", rule="ade20k")
HOLDS = f"the folder ADEChallengeData2016/ with images/ and annotations/, the one above it, or {ARCHIVE}"
SPLITS = ("train", "validation")
_FOLDERS = {"train": "training", "validation": "validation"}


def read(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """One split, by number.

    Raises:
      UserError: other data of the same name, with the archive that is the right one.
    """
    assert spec.data_dir is not None
    files, place = _open(spec.data_dir)
    folders = [f"{place}{kind}/{_FOLDERS[split]}" for kind in ("images", "annotations")]
    found = pair_up(
        files,
        files.names(folders[0]),
        files.names(folders[1]),
        lambda name: _key(name, folders[0], ".jpg"),
        lambda name: _key(name, folders[1], ".png"),
        (f"{folders[0]}/NAME.jpg", f"{folders[1]}/NAME.png"),
    ).checked(spec.bad)
    return PairSource(files, found.pairs, info.labels, read_label=read_annotation), found.findings


def read_annotation(data: bytes, file: str) -> RawLabel:
    """Ids of a grey picture; those in colours are of another set, in which red and green mean something else."""
    raw = read_label(data, file)
    if raw.ids is None:
        raise BadFile(file, "is in colours, as in the instance set and in the full ADE20K", f"download {ARCHIVE}")
    return raw


def _open(data_dir: str) -> tuple[Files, str]:
    try:
        return find_layout(
            data_dir, "annotations", ("", "ADEChallengeData2016/"), ("ADEChallengeData2016*.zip",), HOLDS
        )
    except UserError:
        if Path(data_dir).expanduser().exists() and (other := _other_set(open_files(data_dir))):
            raise UserError(
                f"{data_dir} is {other}, not the 150 classes; download {ARCHIVE} and name its folder"
            ) from None
        raise


def _other_set(files: Files) -> str | None:
    names = files.names()
    if any("annotations_instance/" in name for name in names):
        return "the instance set of ADE20K (annotations_instance, 100 classes)"
    if any(name.endswith("_seg.png") for name in names):
        return "the full ADE20K (NAME_seg.png, 3,000 classes)"
    return None


def _key(name: str, folder: str, ending: str) -> str | None:
    return stem(name).removeprefix(f"{folder}/") if name.endswith(ending) else None
