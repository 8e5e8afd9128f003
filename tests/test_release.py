"""Networks that anyone may use are packed with their card; others are refused."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from docs import release
from rtseg_jax.architecture import ArchSpec
from rtseg_jax.errors import UserError
from rtseg_jax.files import write_json

ROOT = Path(__file__).parent.parent
MODEL = b"a file in the place of a network"


@pytest.fixture
def workdir(tmp_path):
    """What a finished run leaves, as far as a release reads it."""
    folder = tmp_path / "run"
    folder.mkdir()
    listed = next((ROOT / "docs" / "models").glob("*/architecture.json"))
    shutil.copyfile(listed, folder / "architecture.json")
    (folder / "model.tflite").write_bytes(MODEL)
    (folder / "model.md").write_text("# model.tflite\n")
    digest = ArchSpec.load(folder / "architecture.json").digest
    card = {"architecture": digest, "size": len(MODEL), "failures": [], "export": {"size": [128, 256]}}
    rows = [
        {"name": name, "miou": miou, "parameters": 321_279, "gmacs": 0.0891, "latency_ms": 2.786}
        for name, miou in (("searched", 0.25), ("uniform", 0.375))
    ]
    results = {
        "phases": {"evaluate": {"table": rows}},
        "choice": {"best": "uniform"},
        "provenance": {"versions": {"rtseg_jax": "0.1.0"}},
    }
    for name, content in (
        ("config", {"data": {"name": "synthetic_streets"}}),
        ("classes", {"classes": ["road", "car", "sky"]}),
        ("model", card),
        ("results", results),
    ):
        write_json(folder / f"{name}.json", content)
    return folder


def change(path, **values):
    write_json(path, json.loads(path.read_text()) | values)


def test_the_table_is_that_of_the_cards():
    page = (ROOT / "docs" / "models.md").read_text()
    assert page == release.with_table(page, release.released(ROOT / "docs"))
    for entry in release.released(ROOT / "docs"):
        arch = ArchSpec.load(ROOT / "docs" / "models" / entry["name"] / "architecture.json")
        assert arch.digest == entry["architecture"]


def test_the_row_is_of_the_network_that_is_handed_over(workdir, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "models.md").write_text(f"before\n{release.BEGIN}\nold\n{release.END}\nafter\n")
    release.write_docs(release.describe("tiny", workdir), workdir, docs)
    before, *table, after = (docs / "models.md").read_text().splitlines()
    assert (before, after) == ("before", "after")
    digest = hashlib.sha256(MODEL).hexdigest()[:16]
    assert table[3].endswith(
        f"| 128×256 | 3 | 37.5 | 0.321 M | 0.089 | 2.79 ms | `rtseg_jax-0.1.0-tiny.zip` | `{digest}…` |"
    )


def test_the_same_network_gives_the_same_asset(workdir, tmp_path):
    entry = release.describe("tiny", workdir)
    first, second = (release.write_asset(entry, workdir, tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.read("tiny/model.tflite") == MODEL
        assert set(archive.namelist()) == {f"tiny/{name}" for name in (*release.PACKED, "LICENSE")}


def test_networks_of_other_data_are_refused(workdir):
    change(workdir / "config.json", data={"name": "camvid"})
    with pytest.raises(UserError, match="trained on camvid, whose licence the network inherits"):
        release.describe("tiny", workdir)


def test_files_that_are_not_what_their_card_says_are_refused(workdir):
    change(workdir / "model.json", failures=["mIoU falls by 3 points"])
    with pytest.raises(UserError, match="the card names failures: mIoU falls by 3 points"):
        release.describe("tiny", workdir)
    change(workdir / "model.json", failures=[], size=1)
    with pytest.raises(UserError, match=r"model\.tflite is not what model\.json describes"):
        release.describe("tiny", workdir)
    (workdir / "model.tflite").unlink()
    with pytest.raises(UserError, match=r"no model\.tflite; name the workdir"):
        release.describe("tiny", workdir)


def test_a_dry_run_writes_nothing(workdir):
    place = ROOT / release.ASSETS
    before = place.exists() and sorted(place.iterdir())
    command = ["bash", str(ROOT / "launch" / "release.sh"), "--dry-run", "tiny", str(workdir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "would write release/rtseg_jax-0.1.0-tiny.zip" in done.stdout
    assert before == (place.exists() and sorted(place.iterdir()))
    assert not (ROOT / "docs" / "models" / "tiny").exists()


@pytest.mark.xdist_group("finished")
def test_a_real_run_has_all_that_a_release_asks_for(finished):
    workdir = finished[1]
    entry = release.describe("streets", workdir)
    results = json.loads((workdir / "results.json").read_text())
    assert entry["network"] == results["choice"]["best"]
    assert entry["architecture"] == ArchSpec.load(workdir / "architecture.json").digest
