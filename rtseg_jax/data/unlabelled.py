"""Test sets whose labels nobody has: pictures only, to be labelled for a test server.

cityscapes  leftImg8bit/test/CITY/*_leftImg8bit.png, in a folder or in its zip
kitti       testing/image_2/*.png
ade20k      ADE_test_*.jpg, anywhere
voc2012     JPEGImages/NAME.jpg, of the names in ImageSets/Segmentation/test.txt
"""

import re
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import UInt8

from rtseg_jax.data.cityscapes import open_cityscapes
from rtseg_jax.data.dataset import DataSpec
from rtseg_jax.data.decoding import decode_image
from rtseg_jax.data.storage import Files, open_files
from rtseg_jax.errors import UserError

PATTERNS = {
    "cityscapes": r"(.*/)?leftImg8bit/test/.*_leftImg8bit\.png",
    "kitti": r"(.*/)?testing/image_2/[^/]*\.png",
    "ade20k": r"(.*/)?ADE_test_\d{8}\.jpg",
    "voc2012": r"(.*/)?JPEGImages/[^/]*\.jpg",
}
LISTS = {"voc2012": "ImageSets/Segmentation/test.txt"}


class Unlabelled:
    """Pictures by index, read when they are asked for."""

    def __init__(self, files: Files, names: tuple[str, ...]):
        self._files, self._names = files, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        name = self._names[index]
        return decode_image(self._files.read(name), self._files.where(name))

    def name(self, index: int) -> str:
        """Name of the file, without its folder and ending."""
        return PurePosixPath(self._names[index]).stem


def build_unlabelled(spec: DataSpec) -> Unlabelled:
    """The test pictures of the data set that `spec` names.

    Raises:
      UserError: no place of the data, a set without a test server, or none of its test pictures there.
    """
    if spec.name not in PATTERNS:
        raise UserError(f"{spec.name} has no test pictures without labels; those that have are {', '.join(PATTERNS)}")
    if spec.data_dir is None:
        raise UserError(f"{spec.name} needs --config.data.data_dir or --data_dir, where its test pictures are")
    files = open_cityscapes(spec.data_dir) if spec.name == "cityscapes" else open_files(spec.data_dir)
    names = [name for name in files.names() if re.fullmatch(PATTERNS[spec.name], name)]
    if spec.name in LISTS:
        listed = _listed(files, LISTS[spec.name])
        names = [name for name in names if PurePosixPath(name).stem in listed]
    if not names:
        raise UserError(f"{spec.data_dir}: no test pictures of {spec.name} there, looked for as {PATTERNS[spec.name]}")
    return Unlabelled(files, tuple(names))


def _listed(files: Files, listing: str) -> set[str]:
    name = next((name for name in files.names() if name.endswith(listing)), None)
    if name is None:
        raise UserError(f"{files.where(listing)} is missing; it lists the test pictures, unpack the test set there")
    return set(files.read(name).decode().split())
