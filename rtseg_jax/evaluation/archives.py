"""Zips, tars and folders of predictions, read and written file by file."""

import contextlib
import io
import tarfile
import zipfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from rtseg_jax.errors import UserError
from rtseg_jax.evaluation.servers import ZIP


def write_archive(path: Path, files: Iterable[tuple[str, bytes]], endings: tuple[str, ...]) -> None:
    """Writes named files into a zip, or a compressed tar, as `endings` say."""
    if endings == ZIP:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed
            for name, content in files:
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a zip, a tar or a folder; what systems leave behind is passed over.

    Raises:
      UserError: nothing of that name, or no archive that can be read to its end.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    try:
        with contextlib.closing(_files(path)) as files:
            yield from ((name, content) for name, content in files if _is_data(name))
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a zip, a tar or a folder that can be read ({reason}); pack it again") from error


def _files(path: Path) -> Generator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield file.relative_to(path).as_posix(), file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield entry.filename, archive.read(entry)
    else:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile():
                    yield member.name.removeprefix("./"), tar.extractfile(member).read()  # type: ignore[union-attr]


def _is_data(name: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
