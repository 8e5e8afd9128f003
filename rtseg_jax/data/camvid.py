"""CamVid in the usual folder layout: train/ trainannot/ val/ valannot/, with or without train.txt and val.txt."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from rtseg_jax.data.caching import CachedSource
from rtseg_jax.data.catalogue import CAMVID
from rtseg_jax.data.dataset import Dataset, DataSpec, Example
from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE

VOID_ID = 11
"""The id that the label files use for pixels of no class."""


class CamVidSource:
    """One split of CamVid. Pairs and sizes are checked when it is made, contents when a picture is decoded."""

    def __init__(self, root: Path, split: str):
        self._pairs = find_pairs(root, split)
        for image, label in self._pairs:
            _check_sizes(image, label)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Example:
        return _read_example(*self._pairs[index])


def build_camvid(spec: DataSpec) -> Dataset:
    """CamVid from `spec.data_dir`, with `train` for training and `val` for validation."""
    if spec.data_dir is None:
        raise UserError("camvid needs data_dir, the folder that holds train/, trainannot/, val/ and valannot/")
    root = Path(spec.data_dir)
    return Dataset(CAMVID, CachedSource(CamVidSource(root, "train")), CachedSource(CamVidSource(root, "val")))


def find_pairs(root: Path, split: str) -> list[tuple[Path, Path]]:
    """(image file, label file) of each example of a split, in the order of its list file or by name."""
    images, labels = _names(root / split), _names(root / f"{split}annot")
    listing = root / f"{split}.txt"
    names = _listed(listing) if listing.is_file() else sorted(images | labels)
    for name in names:
        for folder, present, other in ((split, images, f"{split}annot"), (f"{split}annot", labels, split)):
            if name not in present:
                raise UserError(f"{root / folder / name} is missing; add it, or remove {other}/{name} and its listing")
    return [(root / split / name, root / f"{split}annot" / name) for name in names]


def _names(folder: Path) -> set[str]:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; data_dir must hold train/, trainannot/, val/ and valannot/")
    names = {path.name for path in folder.glob("*.png")}
    if not names:
        raise UserError(f"{folder} holds no .png files; unpack the data set again")
    return names


def _listed(listing: Path) -> list[str]:
    # The published lists hold absolute paths of another machine; only the names mean anything here.
    names = [Path(line.split()[0]).name for line in listing.read_text().splitlines() if line.strip()]
    if not names:
        raise UserError(f"{listing} lists no pictures; remove it to use every picture of the folder")
    return names


def _check_sizes(image: Path, label: Path) -> None:
    (image_w, image_h), (label_w, label_h) = _header_size(image), _header_size(label)
    if (image_h, image_w) != (label_h, label_w):
        raise UserError(
            f"{label} is {label_h}x{label_w} (height x width) but its picture is {image_h}x{image_w}; "
            "resize the label with nearest neighbour"
        )


def _header_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path} is not a readable picture ({error}); replace the file") from error


def _read(path: Path, mode: str | None) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert(mode) if mode else picture)
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for broken PNG chunks
        raise UserError(f"{path} is truncated or damaged ({error}); replace the file") from error


def _read_example(image: Path, label: Path) -> Example:
    return {"image": _read(image, "RGB"), "label": decode_label(_read(label, None), label)}


def decode_label(ids: np.ndarray, path: Path) -> UInt8[np.ndarray, "h w"]:
    """Ids of a label file [h w] with void turned into 255; `path` is named in errors."""
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise UserError(f"{path} is not a label: expected one 8-bit id per pixel, got {ids.dtype}{list(ids.shape)}")
    ids = np.where(ids == VOID_ID, np.uint8(IGNORE), ids)
    wrong = ids[(ids >= CAMVID.num_classes) & (ids != IGNORE)]
    if wrong.size:
        raise UserError(f"{path} has the id {wrong[0]}; expected 0 to {CAMVID.num_classes - 1}, or {VOID_ID} for void")
    return ids
