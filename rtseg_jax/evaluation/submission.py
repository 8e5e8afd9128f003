"""Predictions for a test server: written, and checked, whoever wrote them."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rtseg_jax.errors import UserError
from rtseg_jax.evaluation.archives import read_archive, write_archive
from rtseg_jax.evaluation.servers import Server, Size
from rtseg_jax.files import write_whole

Expected = Mapping[str, Size | None]
"""Test pictures by what names them, with their (height, width) where it is known."""

SHOWN = 5  # names in a message
_GREY, _INDEXED = "L", "P"


def write_submission(
    path: Path,
    server: Server,
    predictions: Iterable[tuple[str, UInt8[np.ndarray, "h w"]]],
    raw_ids: Sequence[int],
    palette: Sequence[tuple[int, int, int]],
) -> int:
    """Writes an archive that the server takes, whole or not at all, and returns the number of its predictions.

    Args:
      path: of the archive.
      server: its rules.
      predictions: name of each picture (any file name of it), and its classes at its own size.
      raw_ids: what the server calls each class.
      palette: of indexed pictures.

    Raises:
      UserError: an ending that the server does not take, a picture without a name it knows, or anything else that
        `check_submission` finds in what was written.
    """
    if not path.name.endswith(server.archive):
        raise UserError(f"{path}: the server of {server.title} takes {' or '.join(server.archive)}; name it so")
    if set(raw_ids) - set(server.ids):
        raise UserError(f"{server.title}: the id {max(raw_ids)} is none that its server takes; use the set's classes")
    lookup = np.zeros(256, np.uint8)
    lookup[: len(raw_ids)] = raw_ids
    expected: dict[str, Size | None] = {}

    def files() -> Iterator[tuple[str, bytes]]:
        for name, labels in predictions:
            key = server.key_of(name)
            if key is None:
                raise UserError(f"{name}: not a picture of the test set of {server.title}, by its name")
            expected[key] = labels.shape  # type: ignore[assignment]
            yield server.file_name(key), _png(lookup[labels], palette if server.indexed else None)

    def write(temporary: Path) -> None:
        write_archive(temporary, files(), server.archive)
        mistakes = check_files(read_archive(temporary), server, expected)
        if mistakes:
            raise UserError(f"{path}: {mistakes[0]}; nothing was written")

    try:
        write_whole(path, write)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); nothing was left there") from error
    return len(expected)


def check_submission(path: Path, server: Server, expected: Expected | None = None) -> list[str]:
    """Everything in an archive that the server would refuse or misread, a line each; empty where all is well.

    Args:
      path: a zip, a tar, or a folder that is to be packed.
      server: its rules.
      expected: the test pictures; where None, their number is checked.

    Raises:
      UserError: an archive that cannot be read.
    """
    mistakes = check_files(read_archive(path), server, expected)
    if path.is_file() and not path.name.endswith(server.archive):
        mistakes.insert(0, f"{path.name} is none of {', '.join(server.archive)}, which the server takes")
    return mistakes


def check_files(files: Iterable[tuple[str, bytes]], server: Server, expected: Expected | None) -> list[str]:
    """The same for files by name."""
    mistakes: list[str] = []
    found: dict[str, str] = {}
    highest = -1
    for name, content in files:
        key = server.key_of_prediction(name)
        if key is None:
            if name.lower().endswith(".png"):
                mistakes.append(f"{name}: the server does not look for a file of this name and folder")
        elif key in found:
            mistakes.append(f"{name}: a second prediction of {key}, beside {found[key]}")
        elif expected is not None and key not in expected:
            mistakes.append(f"{name}: {key} is not one of the test pictures")
        else:
            found[key] = name
            wrong, labels = _check_picture(content, server, expected.get(key) if expected else None)
            mistakes += [f"{name}: {line}" for line in wrong]
            highest = max(highest, -1 if labels is None else int(labels.max()))
    if server.train_ids is not None and 0 <= highest <= server.train_ids:
        mistakes.append(
            f"no id above {server.train_ids} anywhere: these look like train ids; the server wants labelIds"
        )
    return mistakes + _missing(found, server, expected)


def read_expected(path: Path, server: Server) -> Expected:
    """Test pictures from a list file, a line each, or from a folder of pictures, whose sizes are taken over.

    Raises:
      UserError: nothing of that name, or no name in it that the server knows.
    """
    if path.is_dir():
        expected = {key: _size(file) for file in sorted(path.rglob("*.*")) if (key := server.key_of(file.name))}
    else:
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: neither a folder nor a list of names, one on each line") from error
        words = (line.split()[0] for line in lines if line.strip())
        expected = {key: None for word in words if (key := server.key_of(word))}
    if not expected:
        raise UserError(f"{path}: nothing there is called as the pictures of {server.title}")
    return expected


def _png(labels: UInt8[np.ndarray, "h w"], palette: Sequence[tuple[int, int, int]] | None) -> bytes:
    picture, buffer = Image.fromarray(labels), io.BytesIO()
    if palette is not None:
        picture.putpalette([value for colour in palette for value in colour])
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _check_picture(content: bytes, server: Server, size: Size | None) -> tuple[list[str], np.ndarray | None]:
    """What is wrong with one prediction, and its numbers where they can be read."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            kind, mode, labels = picture.format, picture.mode, np.asarray(picture)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        return [f"not a picture that can be read ({' '.join(str(error).split())})"], None
    if kind != "PNG":
        return [f"a {kind} file; predictions are PNG"], None
    if mode not in (_GREY, _INDEXED):
        return [f"pixels of mode {mode}; one 8-bit number per pixel is wanted"], None
    wrong = []
    if server.indexed and mode != _INDEXED:
        wrong.append("a grey PNG; the server wants an indexed one, with a palette")
    wanted = server.size or size
    if wanted and labels.shape != wanted:
        wrong.append(f"is {labels.shape[0]}x{labels.shape[1]} (height x width), not {wanted[0]}x{wanted[1]}")
    others = sorted(set(np.unique(labels).tolist()) - set(server.ids))
    if others:
        listed = f"{server.ids.start} to {server.ids.stop - 1}"
        wrong.append(f"holds {_listed(list(map(str, others)))}; the server takes {listed}")
    return wrong, labels


def _missing(found: Mapping[str, str], server: Server, expected: Expected | None) -> list[str]:
    if expected is None:
        if len(found) == server.number:
            return []
        return [f"{len(found)} predictions; the test set of {server.title} has {server.number} pictures"]
    missing = [key for key in expected if key not in found]
    return [f"no prediction of {_listed(missing)}"] if missing else []


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _size(path: Path) -> Size | None:
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except OSError:
        return None
