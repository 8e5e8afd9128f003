"""Which label belongs to which picture: by folder, by suffix, or by a list file."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rtseg_jax.data.findings import BadFile, Finding
from rtseg_jax.data.storage import Files, natural_key
from rtseg_jax.errors import UserError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
LABEL_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")

KeyOf = Callable[[str], str | None]
"""What a picture and its label have in common, from the name of either; None for a file that is neither."""


@dataclass(frozen=True)
class Pair:
    """A picture and its label.

    Attributes:
      image: name of the picture's file.
      label: name of the label's file.
      name: of the example.
    """

    image: str
    label: str
    name: str


@dataclass(frozen=True)
class Pairing:
    """Pairs in natural order, or in that of the list; and pictures or labels that are alone."""

    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...] = ()

    def checked(self, bad: str) -> "Pairing":
        """The same; with `bad` = refuse, the first finding is raised."""
        if bad == "refuse" and self.findings:
            first = self.findings[0]
            raise BadFile(first.file, first.what, first.remedy)
        return self


def pair_up(
    files: Files,
    images: Iterable[str],
    labels: Iterable[str],
    key_of_image: KeyOf,
    key_of_label: KeyOf,
    tried: tuple[str, str],
) -> Pairing:
    """Pictures and labels of the same key, in natural order; `tried` are the patterns that errors name.

    Keys are compared as people read them: composed and decomposed accents are the same.
    """
    of_image = _by_key(files, images, key_of_image)
    of_label = _by_key(files, labels, key_of_label)
    if not of_image and not of_label:
        raise UserError(f"{files.where('')} holds no pictures {tried[0]} with labels {tried[1]}; check data_dir")
    pairs = [
        Pair(of_image[key], of_label[key], key)
        for key in sorted(of_image.keys() & of_label.keys(), key=lambda key: natural_key(of_image[key]))
    ]
    findings = []
    for key in sorted(of_image.keys() ^ of_label.keys(), key=natural_key):
        alone, kind, other, pattern = (
            (of_image[key], "picture", "label", tried[1])
            if key in of_image
            else (of_label[key], "label", "picture", tried[0])
        )
        findings.append(_alone(files, alone, kind, other, pattern))
    return Pairing(tuple(pairs), tuple(findings))


def _by_key(files: Files, names: Iterable[str], key_of: KeyOf) -> dict[str, str]:
    result: dict[str, str] = {}
    for name in names:
        key = key_of(name)
        if key is None:
            continue
        key = unicodedata.normalize("NFC", key)
        if key in result:
            raise UserError(
                f"{files.where(name)} and {files.where(result[key])} are both called {key}; remove or rename one"
            )
        result[key] = name
    return result


def _alone(files: Files, name: str, kind: str, other: str, pattern: str) -> Finding:
    return Finding(
        files.where(name),
        f"is a {kind} without its {other}, looked for as {pattern}",
        f"add the {other} or remove the {kind}; --config.data.bad=skip leaves such files out",
    )


def stem(name: str) -> str:
    """A name without its ending: the folder stays."""
    head, dot, ending = name.rpartition(".")
    return head if dot and "/" not in ending and head else name


def has_ending(name: str, endings: Sequence[str]) -> bool:
    """Whether a name ends in one of them, in capitals or not."""
    return name.lower().endswith(tuple(endings))


def listed_pairs(
    files: Files,
    listing: str,
    folders: tuple[str, str],
    partner: Callable[[str], str],
    name_of: Callable[[str], str] | None = None,
) -> Pairing:
    """Pairs of a list file with one `image label` on each line, in its order.

    Paths are relative to the data set or to the `folders` of pictures and labels; they may begin with a prefix of the
    machine that they were published from, as `/SegNet/CamVid/`, and may lack the ending. Where a line names a picture
    only, `partner` says how its label is called.
    """
    pairs, findings = [], []
    for number, line in enumerate(_text(files, listing).splitlines(), 1):
        if not line.strip():
            continue
        image, label = _entries(files, line.strip(), folders)
        label = partner(image) if label is None else label
        missing = next((name for name in (image, label) if name not in files), None)
        if missing is None:
            pairs.append(Pair(image, label, (name_of or stem)(image)))
        else:
            findings.append(
                Finding(
                    files.where(missing),
                    f"is missing; line {number} of {files.where(listing)} lists it: {line.strip()}",
                    "add the file or remove the line; --config.data.bad=skip leaves it out",
                )
            )
    if not pairs and not findings:
        raise UserError(f"{files.where(listing)} lists no pictures; remove it to use every picture of the folder")
    return Pairing(tuple(pairs), tuple(findings))


def _text(files: Files, listing: str) -> str:
    content = files.read(listing)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _entries(files: Files, line: str, folders: tuple[str, str]) -> tuple[str, str | None]:
    """(image, label) of a line; names may hold spaces, so every place to divide it is tried."""
    for mark in ("\t", ",", ";"):
        if mark in line:
            left, right = line.split(mark, 1)
            return resolved(files, left, folders[0]), resolved(files, right, folders[1])
    words = line.split(" ")
    divided = [(" ".join(words[:at]), " ".join(words[at:])) for at in range(1, len(words))]
    both = [(resolved(files, left, folders[0]), resolved(files, right, folders[1])) for left, right in divided]
    if (found := next((pair for pair in both if pair[0] in files and pair[1] in files), None)) is not None:
        return found
    two = [pair for (left, _), pair in zip(divided, both, strict=True) if has_ending(left, IMAGE_ENDINGS)]
    # As a whole last: the end of a line with two paths is the end of the second.
    return two[0] if two else (resolved(files, line, folders[0]), None)


def resolved(files: Files, path: str, folder: str) -> str:
    """The file that a published path means here: the longest end of it that exists; the path itself if none does."""
    parts = [part for part in path.strip().strip('"').replace("\\", "/").split("/") if part not in ("", ".")]
    ends = ["/".join(parts[at:]) for at in range(len(parts))]
    places = ends + [f"{folder}/{end}" for end in ends if folder]
    named = (place + ending for ending in ("", *IMAGE_ENDINGS) for place in places)
    return next((name for name in named if name in files), places[-1])
