"""What the test servers of the data sets take: names, sizes, numbers, archive."""

import dataclasses
import re
from pathlib import PurePosixPath

from rtseg_jax.errors import UserError

Size = tuple[int, int]

ZIP, TAR = (".zip",), (".tar.gz", ".tgz")


@dataclasses.dataclass(frozen=True)
class Server:
    """Rules of one test server.

    Attributes:
      title: to print.
      key: regular expression of what names a test picture, and begins the name of its prediction.
      ending: regular expression of the rest of that name.
      ids: numbers that a prediction may hold.
      number: of pictures in the test set.
      archive: endings of the file to upload.
      size: (height, width) of every prediction; None where each has that of its picture.
      folder: regular expression of the folder that predictions lie in.
      own_folder: the folder that is written.
      indexed: whether predictions must be indexed PNGs, with a palette.
      train_ids: the highest of the numbers that networks are often trained on instead; None where they are the same.
    """

    title: str
    key: str
    ending: str
    ids: range
    number: int
    archive: tuple[str, ...]
    size: Size | None = None
    folder: str = ".*"
    own_folder: str = ""
    indexed: bool = False
    train_ids: int | None = None

    def key_of(self, name: str) -> str | None:
        """What names the picture, from the path of any file of it; None where there is no such thing."""
        found = re.match(self.key, PurePosixPath(name).name)
        return found.group() if found else None

    def key_of_prediction(self, name: str) -> str | None:
        """The same, from the path of a prediction in the archive; None where the server would not find it."""
        path = PurePosixPath(name)
        key = self.key_of(name)
        if key is None or not re.fullmatch(self.ending, path.name[len(key) :]):
            return None
        return key if re.fullmatch(self.folder, "" if str(path.parent) == "." else str(path.parent)) else None

    def file_name(self, key: str) -> str:
        """Where the prediction of a picture lies in the archive."""
        return str(PurePosixPath(self.own_folder) / f"{key}.png")


SERVERS = {
    "cityscapes": Server(
        "Cityscapes",
        r"[a-z-]+_\d{6}_\d{6}",
        r".*\.png",
        range(34),
        1525,
        ZIP,
        size=(1024, 2048),
        train_ids=18,
    ),
    "kitti": Server("KITTI", r"\d{6}_10", r"\.png", range(34), 200, ZIP, folder="", train_ids=18),
    "ade20k": Server("ADE20K", r"ADE_(test|val)_\d{8}", r"\.png", range(1, 151), 3352, ZIP),
    "voc2012": Server(
        "PASCAL VOC 2012",
        r"\d{4}_\d{6}",
        r"\.png",
        range(21),
        1456,
        TAR,
        folder=r"results/VOC2012/Segmentation/comp[56]_test_cls",
        own_folder="results/VOC2012/Segmentation/comp6_test_cls",
        indexed=True,
    ),
}


def server_of(dataset: str) -> Server:
    """The server of a data set; raises `UserError` where there is none."""
    if dataset not in SERVERS:
        raise UserError(f"no test server of {dataset!r} is known here; known are {', '.join(SERVERS)}")
    return SERVERS[dataset]
