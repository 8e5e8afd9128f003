"""Examples from pairs of picture and label files."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from rtseg_jax.data.dataset import Description, Example
from rtseg_jax.data.decoding import decode_image, decode_label
from rtseg_jax.data.findings import BadFile
from rtseg_jax.data.label_table import LabelTable
from rtseg_jax.data.pairing import Pair
from rtseg_jax.data.storage import Files


class PairSource:
    """Pictures with their labels as classes, read when they are asked for.

    `transform` turns the ids of a label file into those of the table; it must be a function of a module, for pickling.
    """

    def __init__(
        self,
        files: Files,
        pairs: Sequence[Pair],
        labels: LabelTable,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        self._files, self._pairs, self._labels, self._transform = files, tuple(pairs), labels, transform

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Example:
        pair = self._pairs[index]
        image = decode_image(self._files.read(pair.image), self._files.where(pair.image))
        label_file = self._files.where(pair.label)
        label = decode_label(self._files.read(pair.label), self._labels, label_file, self._transform)
        if label.shape != image.shape[:2]:
            raise BadFile(label_file, *_sizes_differ(image.shape[:2], label.shape, self._files.where(pair.image)))
        return {"image": image, "label": label}

    def describe(self, index: int) -> Description:
        """Name and files of an example."""
        pair = self._pairs[index]
        return Description(pair.name, self._files.where(pair.image), self._files.where(pair.label))

    def fingerprint(self) -> str:
        """Digest of names, sizes and times of all files, and of what labels mean."""
        digest = hashlib.sha256(repr((self._labels, getattr(self._transform, "__name__", None))).encode())
        for pair in self._pairs:
            for name in (pair.image, pair.label):
                digest.update(
                    f"{self._files.where(name)}\0{self._files.stamp(name)}\n".encode(errors="surrogateescape")
                )
        return digest.hexdigest()


def _sizes_differ(image: tuple[int, ...], label: tuple[int, ...], file: str) -> tuple[str, str]:
    turned = image == label[::-1]
    return (
        f"is {label[0]}x{label[1]} (height x width) but its picture {file} is {image[0]}x{image[1]}",
        "turn the label as the picture's EXIF orientation turns the picture"
        if turned
        else "resize the label with nearest neighbour",
    )
