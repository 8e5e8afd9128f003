"""Results about unchanged files, kept between runs: which data sets were looked at whole, and what was found."""

import hashlib
import json
from pathlib import Path
from typing import Any

from absl import logging

from rtseg_jax import __version__
from rtseg_jax.files import cache_folder, write_json


def recall(kind: str, of: str) -> Any | None:
    """What was remembered under `kind` for something with the fingerprint `of`; None if nothing can be read."""
    try:
        return json.loads(_path(kind, of).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def remember(kind: str, of: str, value: Any) -> None:
    """Keeps a JSON value. Where the folder cannot be written, it says so: the work is then done at every start."""
    path = _path(kind, of)
    try:
        write_json(path, value)
    except OSError as error:
        logging.warning("%s cannot be written (%s): the data set is looked at again at every start", path, error)


def _path(kind: str, of: str) -> Path:
    key = hashlib.sha256(f"{__version__} {kind} {of}".encode()).hexdigest()
    return cache_folder() / kind / f"{key}.json"
