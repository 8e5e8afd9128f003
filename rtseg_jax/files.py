"""Files that are written whole or not at all: under a temporary name beside the final one, then renamed."""

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file, then puts it in place: a reader sees the old file or the new one.

    Where `write` fails, nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a binary file."""
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, value: Any) -> None:
    """Writes plain values as JSON, for people to read as well."""
    write_text(path, json.dumps(value, indent=2) + "\n")


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
