"""Packs the network of a finished run for everybody, and lists it in docs/models.md.

    launch/release.sh [--dry-run] NAME WORKDIR

Only networks trained on drawn streets are packed: others inherit the limits of their data. Weights go into the asset
alone; the repository gets architecture, card and one line of the table.
"""

import argparse
import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

from rtseg_jax import __version__
from rtseg_jax.architecture import ArchSpec
from rtseg_jax.errors import UserError
from rtseg_jax.files import write_json, write_text, write_whole

ROOT = Path(__file__).parents[1]
ASSETS = "release"
"""Folder for assets, ignored by git."""

FREE_DATA = "synthetic_streets"
PACKED = ("model.tflite", "model.json", "model.md", "architecture.json", "classes.json", "config.json")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in an asset: the same network gives the same bytes
BEGIN, END = "<!-- table: made by launch/release.sh -->", "<!-- end of the table -->"
COLUMNS = (
    "| network | input | classes | mIoU % | parameters | GMACs | latency | asset | SHA-256 of `model.tflite` |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


def describe(name: str, workdir: Path) -> dict[str, Any]:
    """Everything that the table says of a run's network.

    Raises:
      UserError: an unfinished run, a network that must not be passed on, or a file that is not what its card says.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UserError(f"{name!r} cannot be a folder's name; use letters, digits, - and _")
    missing = [file for file in (*PACKED, "results.json") if not (workdir / file).is_file()]
    if missing:
        raise UserError(f"{workdir}: no {missing[0]}; name the workdir of a run that is exported")
    config, card, results = (_read(workdir / file) for file in ("config.json", "model.json", "results.json"))
    if config["data"]["name"] != FREE_DATA:
        raise UserError(
            f"{workdir}: trained on {config['data']['name']}, whose licence the network inherits; only networks of "
            f"{FREE_DATA} are released"
        )
    arch = ArchSpec.load(workdir / "architecture.json")
    if card["architecture"] != arch.digest or card["size"] != (workdir / "model.tflite").stat().st_size:
        raise UserError(f"{workdir}: model.tflite is not what model.json describes; export it again")
    if card["failures"]:
        raise UserError(f"{workdir}: the card names failures: {'; '.join(card['failures'])}")
    rows = {row["name"]: row for row in results["phases"]["evaluate"]["table"]}
    row = rows[results["choice"]["best"]]
    return {
        "name": name,
        "network": row["name"],
        "version": results["provenance"]["versions"]["rtseg_jax"],
        "asset": f"rtseg_jax-{__version__}-{name}.zip",
        "sha256": hashlib.sha256((workdir / "model.tflite").read_bytes()).hexdigest(),
        "architecture": arch.digest,
        "size": card["export"]["size"],
        "classes": len(_read(workdir / "classes.json")["classes"]),
        **{key: row[key] for key in ("miou", "parameters", "gmacs", "latency_ms")},
    }


def write_asset(entry: dict[str, Any], workdir: Path, folder: Path) -> Path:
    """The archive for download; the same network gives the same bytes."""
    asset = folder / entry["asset"]
    folder.mkdir(parents=True, exist_ok=True)
    contents = {file: (workdir / file).read_bytes() for file in PACKED}
    contents["LICENSE"] = (ROOT / "LICENSE").read_bytes()

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, content in contents.items():
                archive.writestr(zipfile.ZipInfo(f"{entry['name']}/{file}", EPOCH), content)

    write_whole(asset, write)
    return asset


def write_docs(entry: dict[str, Any], workdir: Path, docs: Path) -> None:
    """Architecture and card of the network, and the table of all networks."""
    folder = docs / "models" / entry["name"]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(workdir / "architecture.json", folder / "architecture.json")
    shutil.copyfile(workdir / "model.md", folder / "card.md")
    write_json(folder / "release.json", entry)
    page = docs / "models.md"
    write_text(page, with_table(page.read_text(), released(docs)))


def released(docs: Path) -> list[dict[str, Any]]:
    """What is listed of every network, by name."""
    return [_read(path) for path in sorted((docs / "models").glob("*/release.json"))]


def with_table(page: str, entries: list[dict[str, Any]]) -> str:
    """The page with the table of these networks between its two marks."""
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    return f"{before}{BEGIN}\n{COLUMNS}{''.join(_row(entry) for entry in entries)}{END}{after}"


def _row(entry: dict[str, Any]) -> str:
    name = entry["name"]
    height, width = entry["size"]
    cells = (
        f"`{name}` ([architecture](models/{name}/architecture.json), [card](models/{name}/card.md))",
        f"{height}×{width}",
        entry["classes"],
        f"{100 * entry['miou']:.1f}",
        f"{entry['parameters'] / 1e6:.3f} M",
        f"{entry['gmacs']:.3f}",
        f"{entry['latency_ms']:.2f} ms",
        f"`{entry['asset']}`",
        f"`{entry['sha256'][:16]}…`",
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def main() -> None:
    """Command line; errors are one line and exit status 2."""
    parser = argparse.ArgumentParser(description="Packs the network of a finished run, and lists it in docs/models.md.")
    parser.add_argument("name", help="of the network, such as streets-128x256")
    parser.add_argument("workdir", type=Path, help="of a finished and exported run on drawn streets")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and write nothing")
    arguments = parser.parse_args()
    try:
        entry = describe(arguments.name, arguments.workdir)
        if arguments.dry_run:
            print(json.dumps(entry, indent=2))
            print(
                f"would write {ASSETS}/{entry['asset']} and docs/models/{entry['name']}, and list it in docs/models.md"
            )
            return
        asset = write_asset(entry, arguments.workdir, ROOT / ASSETS)
        write_docs(entry, arguments.workdir, ROOT / "docs")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{asset} ({asset.stat().st_size / 1e6:.2f} MB) is to be attached to release {entry['version']}")
    print(f"commit docs/models.md and docs/models/{entry['name']}")


if __name__ == "__main__":
    main()
