"""Files of a data set by name, wherever they lie: in a folder, in zip archives or in a tar, read in place.

Every kind can be read from several threads, and can be pickled for worker processes: what is open stays behind.
"""

import os
import re
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rtseg_jax.data.findings import BadFile
from rtseg_jax.errors import UserError

NOT_DATA = ("__MACOSX", "Thumbs.db", "desktop.ini")
"""What systems leave behind in folders and archives; names with a leading dot are passed over as well."""

Stamp = tuple[int, int]
"""(size in bytes, time of the last change in nanoseconds); of an archive's member, the archive's time."""


@runtime_checkable
class Files(Protocol):
    """Named files. Names are relative, with slashes."""

    def names(self, under: str = "") -> tuple[str, ...]:
        """All names in natural order, or those below the folder `under`; none if there is no such folder."""
        ...

    def __contains__(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes:
        """The content of a file; raises `BadFile` where it cannot be read."""
        ...

    def where(self, name: str) -> str:
        """The name as people find it: a path, or ARCHIVE:NAME."""
        ...

    def stamp(self, name: str) -> Stamp:
        """Size and time, by which a changed file is known."""
        ...


def natural_key(name: str) -> tuple[Any, ...]:
    """Sorts frame2 before frame10, and the same names always in the same order."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if index % 2 else (0, part) for index, part in enumerate(parts)), name


class Folder:
    """Files below a folder. Symbolic links are followed, except one that leads back to a folder it lies in."""

    def __init__(self, root: Path | str):
        self.root = Path(root)

    def names(self, under: str = "") -> tuple[str, ...]:
        """All names in natural order, or those below the folder `under`."""
        top = self.root / under
        prefix = f"{under.strip('/')}/" if under.strip("/") else ""
        return tuple(sorted((prefix + name for name in _walk(top, "", ())), key=natural_key))

    def __contains__(self, name: str) -> bool:
        return (self.root / name).is_file()

    def read(self, name: str) -> bytes:
        """The content of a file."""
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise BadFile(self.where(name), f"cannot be read ({error.strerror})", "replace the file") from error

    def where(self, name: str) -> str:
        """The path."""
        return str(self.root / name)

    def stamp(self, name: str) -> Stamp:
        """Size and time; zeros where the file cannot be looked at, which reading it will tell."""
        try:
            status = (self.root / name).stat()
        except OSError:
            return 0, 0
        return status.st_size, status.st_mtime_ns


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    try:
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in above or not stat.S_ISDIR(status.st_mode):
            return
        entries = list(os.scandir(folder))
    except OSError as error:
        if not above and isinstance(error, FileNotFoundError):
            return
        raise UserError(f"{folder} cannot be read ({error.strerror}); check its permissions and links") from error
    for entry in entries:
        if _is_data(entry.name):
            if _is_folder(entry):
                yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", (*above, identity))
            else:
                yield prefix + entry.name


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: listed as a file, and named when it is read
        return False


def _is_data(part: str) -> bool:
    return not part.startswith(".") and part not in NOT_DATA


class Archives:
    """Files of one or several zip or tar archives, as if unpacked into one folder. A tar must not be compressed."""

    def __init__(self, paths: Sequence[Path | str]):
        self._archives = tuple(_open(Path(path)) for path in paths)
        self._home = {name: archive for archive in self._archives for name in archive.members}
        self._names = tuple(sorted(self._home, key=natural_key))

    def names(self, under: str = "") -> tuple[str, ...]:
        """All names in natural order, or those below the folder `under`."""
        prefix = f"{under.strip('/')}/" if under.strip("/") else ""
        return tuple(name for name in self._names if name.startswith(prefix))

    def __contains__(self, name: str) -> bool:
        return name in self._home

    def read(self, name: str) -> bytes:
        """The content of a member."""
        if name not in self._home:
            raise BadFile(self.where(name), "is missing", "unpack or download the data set again")
        try:
            return self._home[name].read(name)
        except (OSError, EOFError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            reason = " ".join(str(error).split())
            raise BadFile(self.where(name), f"cannot be read ({reason})", "download the archive again") from error

    def where(self, name: str) -> str:
        """ARCHIVE:NAME."""
        paths = [self._home[name].path] if name in self._home else [archive.path for archive in self._archives]
        return f"{paths[0]}:{name}"

    def stamp(self, name: str) -> Stamp:
        """Size of the member, time of its archive."""
        archive = self._home[name]
        return archive.members[name], archive.path.stat().st_mtime_ns


class Below:
    """The files below a folder of other files."""

    def __init__(self, files: Files, folder: str):
        self._files, self._folder = files, folder

    def names(self, under: str = "") -> tuple[str, ...]:
        """All names in natural order, or those below the folder `under`."""
        names = self._files.names(f"{self._folder}/{under}")
        return tuple(name.removeprefix(f"{self._folder}/") for name in names)

    def __contains__(self, name: str) -> bool:
        return f"{self._folder}/{name}" in self._files

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return self._files.read(f"{self._folder}/{name}")

    def where(self, name: str) -> str:
        """The name as people find it."""
        return self._files.where(f"{self._folder}/{name}")

    def stamp(self, name: str) -> Stamp:
        """Size and time."""
        return self._files.stamp(f"{self._folder}/{name}")


class _Zip:
    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._opened: tuple[int, zipfile.ZipFile] | None = None  # and the process that opened it
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        self.members = {entry.filename: entry.file_size for entry in entries if _is_member(entry.filename)}

    def read(self, name: str) -> bytes:
        return self._archive().read(name)

    def _archive(self) -> zipfile.ZipFile:
        # Opening reads the list of all members, so it is done once per process; a forked one must not share the offset.
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = (os.getpid(), zipfile.ZipFile(self.path))
            return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "members": self.members}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._opened = threading.Lock(), None

    def __del__(self):
        if self._opened is not None and self._opened[0] == os.getpid():
            self._opened[1].close()


class _Tar:
    def __init__(self, path: Path):
        self.path = path
        with tarfile.open(path, "r:") as archive:
            entries = [entry for entry in archive.getmembers() if entry.isreg() and _is_member(entry.name)]
        named = [(entry.name.removeprefix("./"), entry) for entry in entries]
        self.members = {name: entry.size for name, entry in named}
        self._offsets = {name: entry.offset_data for name, entry in named}

    def read(self, name: str) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self._offsets[name])
            content = file.read(self.members[name])
        if len(content) != self.members[name]:
            raise EOFError("the archive ends before it")
        return content


def _is_member(name: str) -> bool:
    return all(_is_data(part) for part in name.removeprefix("./").split("/"))


def _open(path: Path) -> _Zip | _Tar:
    try:
        if zipfile.is_zipfile(path):
            return _Zip(path)
        return _Tar(path)
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not a zip or an uncompressed tar that can be read ({reason}); download it again, or unpack it "
            "and name the folder"
        ) from error


def open_files(data_dir: str | Path) -> Files:
    """The files of a folder, or of one zip or tar.

    Raises:
      UserError: there is nothing of that name, or an archive that cannot be read in place.
    """
    path = Path(data_dir).expanduser()
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Archives([path])
    raise UserError(f"{path} is not there; data_dir names the folder of the data set, or its zip or tar")
