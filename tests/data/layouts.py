"""Miniatures of published layouts, which tests write themselves."""

import importlib.util
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg_jax.data import DataSpec, build_split

FIXTURES = Path(os.environ.get("RTSEG_FIXTURES", Path(__file__).parents[2] / "../shared/data/fixtures"))
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the fixtures are not here; set RTSEG_FIXTURES")


def write(path, array, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(array, np.asarray(array).dtype))
    if palette is not None:
        picture.putpalette(list(palette))
    picture.save(path)


def picture(path, grey, size=(2, 3)):
    """A picture of one grey: JPEG keeps it."""
    write(path, np.full((*size, 3), grey, np.uint8))


def zipped(root, archive):
    """All of `root` in a zip, with names as they are below it."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(root.rglob("*")):
            target.write(path, path.relative_to(root))
    return archive


def tarred(root, archive):
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as target:
        for path in sorted(root.iterdir()):
            target.add(path, path.name)
    return archive


def split_of(name, root, split, **fields):
    return build_split(DataSpec(name, data_dir=str(root), **fields), split)


def names(source):
    return [source.describe(index).name for index in range(len(source))]


def contents(source):
    """(grey of the picture, label as lists) by name."""
    return {
        source.describe(index).name: (int(source[index]["image"][0, 0, 0]), source[index]["label"].tolist())
        for index in range(len(source))
    }


def shipped_config(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / f"configs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
