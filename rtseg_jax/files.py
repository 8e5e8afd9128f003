"""Files that are written whole or not at all, on a disk and in a bucket.

On a disk a file is filled under a temporary name beside the final one, of which no other writer has the same, and
renamed. A bucket has no renaming, and needs none: an object that is sent in one piece appears when all of it is there.
"""

import contextlib
import errno
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from rtseg_jax.errors import UserError

# TensorFlow would be loaded into the process that trains only to reach a bucket; fsspec reaches it as well.
os.environ.setdefault("EPATH_USE_TF", "false")

from etils import epath

Place: TypeAlias = Path | epath.Path
"""A path on a disk, or one that `etils.epath` reaches, as gs://BUCKET/RUN."""

TEMPORARY = ".tmp"


def cache_folder() -> Path:
    """`RTSEG_JAX_CACHE`, or rtseg_jax in the user's cache folder."""
    if chosen := os.environ.get("RTSEG_JAX_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtseg_jax"


def check_place(path: Place, flag: str) -> None:
    """Tries whether a file can be written, before hours are spent on what shall be in it; leaves nothing.

    In a bucket nothing is tried: what is written there stays until it is deleted, by whoever may.

    Raises:
      UserError: it cannot, with the flag that names another place.
    """
    if on_disk(path) and path.is_dir():
        raise UserError(f"{path} is a folder, and a file is to be written; name a file with {flag}")
    check_folder(path.parent, flag, path)


def check_folder(folder: Place, flag: str, file: Place | None = None) -> None:
    """The same for files in a folder, which need not be there yet."""
    if not on_disk(folder):
        return
    made: list[Path] = []
    try:
        for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
            missing.mkdir()
            made.append(missing)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{file or folder} cannot be written ({reason}); name another place with {flag}") from error
    finally:
        for place in reversed(made):
            with contextlib.suppress(OSError):  # another process has begun to use it
                place.rmdir()


def place(path: str | os.PathLike[str]) -> Place:
    """Where a path points: one with a scheme, such as gs://BUCKET/RUN, goes to `etils.epath`, any other to a disk.

    Raises:
      UserError: no such scheme is known, or the package that reaches it is not installed.
    """
    text = os.fspath(path)
    if "://" not in text:
        return Path(path)
    scheme = text.split("://", maxsplit=1)[0]
    try:
        found = epath.Path(text)
        found.exists()
    except KeyError as error:
        raise UserError(
            f"{text}: there are no places that begin with {scheme}://; use gs://, s3:// or a folder"
        ) from error
    except ImportError as error:
        raise UserError(f"{text}: {' '.join(str(error).split())}; {scheme}:// is reached by that package") from error
    return found


def on_disk(path: Place) -> bool:
    """Whether a path is one of a disk of this machine, or one that looks like it."""
    return "://" not in os.fspath(path)


def write_whole(path: Place, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file, then puts it in place: a reader sees the old file or the new one.

    Where `write` fails, nothing is left behind. Several writers of one file do not meet: one of theirs stays.
    """
    if not on_disk(path):
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / path.name
            write(local)
            path.write_bytes(local.read_bytes())
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Place, text: str) -> None:
    """Writes a text file."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Place, content: bytes) -> None:
    """Writes a binary file."""
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Place, value: Any) -> None:
    """Writes plain values as JSON, for people to read as well."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def append_line(path: Place, line: str) -> None:
    """Adds a line to a file; a bucket cannot add to one, there it is sent again with the line."""
    if on_disk(path):
        with path.open("a") as file:
            file.write(line + "\n")
    else:
        path.write_text((path.read_text() if path.exists() else "") + line + "\n")


def whole_lines(path: Place) -> list[str]:
    """The lines of a file, none if there is no file; without a last one that a killed writer did not finish."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def read_rows(path: Place) -> list[Any]:
    """The JSON values of a file that has one to a line; a last line that a killed writer did not finish is removed.

    Raises:
      UserError: another line is damaged.
    """
    text = path.read_text() if path.exists() else ""
    *lines, cut_off = text.split("\n")
    if cut_off:
        write_text(path, text.removesuffix(cut_off))
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: cannot be read ({error}); remove the line") from error
    return rows


def remove_remains(folder: Path) -> None:
    """Removes the temporary files of killed writers; nobody else may be writing there."""
    for path in folder.rglob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path, of: Collection[str]) -> Iterator[Path]:
    """A temporary folder beside `path`, which takes its place when all went well and is removed otherwise.

    An earlier folder is replaced where it holds nothing but files named in `of`.

    Raises:
      FileExistsError: something else stands there.
      OSError: the folder cannot be written.
    """
    if path.exists() and not (path.is_dir() and {entry.name for entry in path.iterdir()} <= set(of)):
        raise FileExistsError(errno.EEXIST, "it exists and holds something else", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        new.mkdir()
        yield new
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(new, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
