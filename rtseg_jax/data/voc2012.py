"""PASCAL VOC 2012 segmentation: palette masks, lists in ImageSets/Segmentation; as a folder or as the published tar.

    VOCdevkit/VOC2012/JPEGImages/NAME.jpg
    VOCdevkit/VOC2012/SegmentationClass/NAME.png
    VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt

The split trainaug adds the masks of SBD: as pictures in SegmentationClassAug/, in VOC2012 or beside it, or as SBD's own
cls/NAME.mat. A list trainaug.txt or train_aug.txt says which pictures; without one it is all that have a mask, less
those of val. The 1,464 pictures of VOC's list train keep VOC's masks, whose borders are ignored; SBD has no borders.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np
import scipy.io

from rtseg_jax.data.class_file import shipped_info
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Source
from rtseg_jax.data.decoding import RawLabel, read_label
from rtseg_jax.data.findings import BadFile, Finding
from rtseg_jax.data.layout import find_layout
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.pairing import Pair, Pairing, stem
from rtseg_jax.data.storage import Files
from rtseg_jax.errors import UserError

INFO = shipped_info("voc2012", licence="Flickr's terms; no redistribution", rule="voc")
HOLDS = (
    "the folder that holds VOCdevkit/, VOC2012/ or JPEGImages/ and SegmentationClass/, or VOCtrainval_11-May-2012.tar"
)
SPLITS = ("train", "validation", "trainaug")
_LISTS = {"train": "train.txt", "validation": "val.txt"}
_AUGMENTED = ("trainaug.txt", "train_aug.txt")
_PLACES = ("", "VOC2012/", "VOCdevkit/VOC2012/")
_ARCHIVES = ("*trainval*2012*.tar", "SegmentationClassAug*.zip")


def read(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """One split, in the order of its list.

    Raises:
      UserError: no list; for trainaug no masks of SBD, or a list that holds pictures of val.
    """
    assert spec.data_dir is not None
    files, place = find_layout(spec.data_dir, "SegmentationClass", _PLACES, _ARCHIVES, HOLDS)
    if split == "trainaug":
        found = _augmented(files, place)
    else:
        found = _paired(files, place, _names(files, place, _LISTS[split]), _own_mask(place))
    found = found.checked(spec.bad)
    return PairSource(files, found.pairs, info.labels, read_label=read_mask), found.findings


def read_mask(data: bytes, file: str) -> RawLabel:
    """A mask in a picture, or in SBD's form: the field Segmentation of GTcls in a MATLAB file."""
    if not file.endswith(".mat"):
        return read_label(data, file)
    try:
        content = scipy.io.loadmat(io.BytesIO(data), squeeze_me=True, struct_as_record=False)
        return RawLabel(np.ascontiguousarray(content["GTcls"].Segmentation), None, None)
    except (KeyError, AttributeError) as error:
        raise BadFile(file, "has no GTcls.Segmentation", "use the files of SBD's folder cls") from error
    except Exception as error:  # a damaged file may raise anything: it is parsed field by field
        reason = " ".join(str(error).split())
        raise BadFile(file, f"is truncated or damaged ({reason})", "replace the file") from error


def _own_mask(place: str) -> Callable[[str], str]:
    return lambda name: f"{place}SegmentationClass/{name}.png"


def _names(files: Files, place: str, listing: str) -> list[str]:
    path = f"{place}ImageSets/Segmentation/{listing}"
    if path not in files:
        raise UserError(f"{files.where(path)} is missing; unpack VOC 2012 again, with ImageSets/Segmentation")
    return _listed(files, path)


def _listed(files: Files, listing: str) -> list[str]:
    """Names of a list, of which each line begins with a bare name or a path."""
    lines = files.read(listing).decode("utf-8-sig").splitlines()
    return [_base(line.split()[0]) for line in lines if line.strip()]


def _base(name: str) -> str:
    return PurePosixPath(stem(name)).name


def _paired(files: Files, place: str, names: Sequence[str], mask_of: Callable[[str], str]) -> Pairing:
    pairs, findings = [], []
    for name in names:
        pair = Pair(f"{place}JPEGImages/{name}.jpg", mask_of(name), name)
        missing = next((file for file in (pair.image, pair.label) if file not in files), None)
        if missing is None:
            pairs.append(pair)
        else:
            remedy = "unpack it again or remove it from the list; --config.data.bad=skip leaves it out"
            findings.append(Finding(files.where(missing), f"is missing, which the list of {name} names", remedy))
    return Pairing(tuple(pairs), tuple(findings))


def _augmented(files: Files, place: str) -> Pairing:
    masks = _masks_of_sbd(files, place)
    own, scored = (_names(files, place, _LISTS[split]) for split in ("train", "validation"))
    lists = (f"{folder}{name}" for name in _AUGMENTED for folder in (f"{place}ImageSets/Segmentation/", place, ""))
    listing = next((name for name in lists if name in files), None)
    if listing is None:
        names = sorted({*own, *masks} - set(scored))
    else:
        names = _listed(files, listing)
        if both := set(names) & set(scored):
            raise UserError(
                f"{files.where(listing)} lists {len(both)} pictures of val.txt, as {min(both)}: scores on what was "
                "trained on mean nothing; remove them from the list"
            )
    of_voc = set(own)
    own_mask = _own_mask(place)
    absent = f"{place}SegmentationClassAug"
    return _paired(
        files, place, names, lambda name: own_mask(name) if name in of_voc else masks.get(name, f"{absent}/{name}.png")
    )


def _masks_of_sbd(files: Files, place: str) -> dict[str, str]:
    """The mask of each picture: converted ones first."""
    for folder in (f"{place}SegmentationClassAug", "SegmentationClassAug"):
        if found := {_base(name): name for name in files.names(folder) if name.endswith(".png")}:
            return found
    found = {_base(name): name for name in files.names() if "/cls/" in f"/{name}" and name.endswith(".mat")}
    if not found:
        raise UserError(
            f"{files.where('')} holds no masks of SBD; for trainaug add SegmentationClassAug/NAME.png, or the folder "
            "dataset/cls of SBD unpacked"
        )
    return found
