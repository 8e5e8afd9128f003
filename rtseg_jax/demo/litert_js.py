"""LiteRT.js, Google's runtime for browsers: packed by npm at a pinned version, checked, and kept in the user's cache.

Its builds are 10 MB each, so they are not part of this package. The page takes three: with threads, without, and for
browsers without relaxed SIMD. `python -m rtseg_jax.demo.litert_js` fetches them ahead of time.
"""

import dataclasses
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from rtseg_jax.errors import UserError
from rtseg_jax.files import cache_folder, whole_folder

VERSION = "2.5.3"
REGISTRY = "https://registry.npmjs.org/@litertjs"
OTHER_PACKAGE = b'"@litertjs/wasm-utils"'  # as the runtime imports it; browsers need a path


@dataclasses.dataclass(frozen=True)
class Package:
    """A package of npm.

    Attributes:
      name: within the scope @litertjs.
      sha256: of the file that npm packs.
      members: files to keep: name here, name in the package, SHA-256.
    """

    name: str
    sha256: str
    members: tuple[tuple[str, str, str], ...]

    @property
    def file(self) -> str:
        """What npm calls the packed file."""
        return f"litertjs-{self.name}-{VERSION}.tgz"


PACKAGES = (
    Package(
        "core",
        "a97660833e9e7e1063c95e12016718881240b14f7438728a2f62785e912d30fd",
        (
            (
                "index.js",
                "dist/index.js",
                "e7daccc3a31eef890848a737ccb863ded5f046a6b40c3fdc0556495adeb5d9b3",
            ),
            (
                "litert_wasm_compat_internal.js",
                "wasm/litert_wasm_compat_internal.js",
                "4d8f894b7883654fd6e8439730aa41e79ceaab7d19184fc4f1f0b0f1a2a2c8a5",
            ),
            (
                "litert_wasm_compat_internal.wasm",
                "wasm/litert_wasm_compat_internal.wasm",
                "5255c8ad06eabdbd2522cdebf6b22fc10faf74625c23a49b9e072570cd1fa41c",
            ),
            (
                "litert_wasm_internal.js",
                "wasm/litert_wasm_internal.js",
                "68efb69f770e3f76aff36a377de629ca496c131b86ac0f0f4b592a1543a898eb",
            ),
            (
                "litert_wasm_internal.wasm",
                "wasm/litert_wasm_internal.wasm",
                "7280cf4471774867e385e6c3cd53e2b45e2975b80fea338fff4ef359b0865614",
            ),
            (
                "litert_wasm_threaded_internal.js",
                "wasm/litert_wasm_threaded_internal.js",
                "92fe7a720c6deedaa1194c011c79a005ea4f6fc98f533b661cf7900760ab4849",
            ),
            (
                "litert_wasm_threaded_internal.wasm",
                "wasm/litert_wasm_threaded_internal.wasm",
                "b5e54eca10f043497edf9a02186332707cae260c550d7ea22b2cae55669596cf",
            ),
        ),
    ),
    Package(
        "wasm-utils",
        "ce2a1f8379c067be49e59752e5a7f40db6be09f6e497f0f11e59f17b515366a7",
        (
            (
                "wasm-utils.js",
                "dist/index.js",
                "e0e20bc28ab001ac732cf40d15b6eebd24fb0deaeb95eeba5100f51eebf015f2",
            ),
        ),
    ),
)

FOLDER = f"litert_js-{VERSION}"
"""Within the cache."""

DIGESTS = {name: digest for package in PACKAGES for name, _, digest in package.members}


def litert_js(packages: Path | None = None) -> dict[str, bytes]:
    """The files that the page loads, by name; fetched first where the cache does not have them.

    Args:
      packages: folder with the packed files; None to let npm fetch them.

    Raises:
      UserError: they cannot be had, or are not the pinned ones.
    """
    folder = cache_folder() / FOLDER
    if not present(folder):
        if packages is None:
            with tempfile.TemporaryDirectory() as scratch:
                _pack(Path(scratch))
                install(Path(scratch), folder)
        else:
            install(packages, folder)
    return read(folder)


def present(folder: Path) -> bool:
    """Whether a folder has every file, undamaged."""
    return all((folder / name).is_file() and _digest((folder / name).read_bytes()) == DIGESTS[name] for name in DIGESTS)


def read(folder: Path) -> dict[str, bytes]:
    """The files of a folder as browsers can load them."""
    return {name: for_browsers((folder / name).read_bytes()) for name in DIGESTS}


def install(packages: Path, folder: Path) -> None:
    """Puts the files of the packed packages into a folder; all of them or none."""
    contents = {name: content for package in PACKAGES for name, content in _unpack(packages, package).items()}
    try:
        with whole_folder(folder, DIGESTS) as new:
            for name, content in contents.items():
                (new / name).write_bytes(content)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}); set RTSEG_JAX_CACHE to another folder"
        ) from error


def for_browsers(content: bytes) -> bytes:
    """A file as a browser can load it: the import of the other package by path. Nothing else is changed."""
    return content.replace(OTHER_PACKAGE, b'"./wasm-utils.js"')


def _pack(scratch: Path) -> None:
    """Lets npm fetch the packages; it runs none of their scripts."""
    urls = " and ".join(f"{REGISTRY}/{package.name}/-/{package.name}-{VERSION}.tgz" for package in PACKAGES)
    by_hand = f"save {urls} as {' and '.join(package.file for package in PACKAGES)} and name their folder: --packages"
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"LiteRT.js is fetched by npm, which is not installed; install it, or {by_hand}")
    wanted = [f"@litertjs/{package.name}@{VERSION}" for package in PACKAGES]
    command = [npm, "pack", "--silent", "--ignore-scripts", f"--pack-destination={scratch}", *wanted]
    print(f"fetching LiteRT.js {VERSION} with npm (12 MB, once)", flush=True)
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise UserError(f"npm pack of LiteRT.js failed ({said}); try again with a network, or {by_hand}")


def _unpack(folder: Path, package: Package) -> dict[str, bytes]:
    path = folder / package.file
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); --packages names the folder that has it") from error
    if _digest(packed) != package.sha256:
        raise UserError(f"{path} is not {package.name} {VERSION} as it was published; fetch it again")
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        found = {name: archive.extractfile(f"package/{source}") for name, source, _ in package.members}
        return {name: file.read() for name, file in found.items() if file is not None}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    try:
        litert_js()
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"LiteRT.js {VERSION} installed: {cache_folder() / FOLDER}")
