"""All that the server hands out, by path: a page, LiteRT.js and the models. There is nothing beyond this table."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rtseg_jax.demo.models import Model

PAGE = Path(__file__).parent / "page"

KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".tflite": "application/octet-stream",
    ".wasm": "application/wasm",
}
"""Types of the files that are served, by ending."""

MODELS, CONTENTS = "models.json", "contents.json"
MEASURING = "measure/"
"""Where the page that measures is; its own modules are in the folder of that name."""
MOST_MODELS = 2


@dataclasses.dataclass(frozen=True)
class File:
    """A file as it is served.

    Attributes:
      content: its bytes.
      kind: its type, as HTTP names it.
    """

    content: bytes
    kind: str

    @property
    def tag(self) -> str:
        """What tells it from other versions."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def site_of(models: Sequence[Model], runtime: Mapping[str, bytes]) -> dict[str, File]:
    """The table: what is handed out under which path; `runtime` is LiteRT.js, by file name."""
    files = _folder(PAGE) | _runtime(runtime)
    places = [f"models/{number}.tflite" for number in range(len(models))]
    files |= {place: model.content for place, model in zip(places, models, strict=True)}
    described = [{**model.description, "file": place} for place, model in zip(places, models, strict=True)]
    files[MODELS] = json.dumps(described).encode()
    # What a browser keeps to work offline; of the builds of LiteRT.js it adds the one that it took.
    kept = [name for name in files if "litert_wasm" not in name and name != "service_worker.js"]
    files[CONTENTS] = json.dumps(["./", *sorted(kept)]).encode()
    table = _table(files)
    return {**table, "": table["index.html"]}


def measuring_site(runtime: Mapping[str, bytes]) -> dict[str, File]:
    """The table of the page that measures; what it is to measure comes and goes, see `desk`."""
    own = {f"{MEASURING}{name}": content for name, content in _folder(PAGE / MEASURING).items()}
    shared = {name: content for name, content in _folder(PAGE).items() if name != "index.html"}
    table = _table({**own, **shared, **_runtime(runtime)})
    return {**table, MEASURING: table[f"{MEASURING}index.html"]}


def _folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in KINDS}


def _runtime(runtime: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"litert/{name}": content for name, content in runtime.items()}


def _table(files: Mapping[str, bytes]) -> dict[str, File]:
    return {name: File(content, KINDS[Path(name).suffix]) for name, content in files.items()}
