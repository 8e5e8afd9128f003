"""What the landing benchmark makes of finished searches, by hand."""

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks import landing
from benchmarks.landing import Row, Search, markdown, passed, row_of, verdict
from rtseg_jax.architecture import ArchSpec
from rtseg_jax.command_line import load_config
from rtseg_jax.latency.backend import Timing
from rtseg_jax.training.workdir import Workdir
from rtseg_jax.zoo import RTSeg

ROW = Row(
    form="published",
    target_ms=2.0,
    seed=0,
    soft=1.02,
    soft_last=1.0,
    predicted=0.99,
    measured=1.01,
    paths={"stage8_1": "skip", "stage16_1": "lir"},
    moved=0,
    searched_channels=60,
    decided_channels=56,
    changed_channels=8,
    all_channels=80,
    miou=0.25,
)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """A finished one."""
    workdir = Workdir(tmp_path)
    for step in range(1, 41):  # the last 5 % are two steps
        cost = {39: 2.2, 40: 2.4}.get(step, 9.0)
        kept = {"detail": [24, 32], "stage8": [8, 16], "gone": [4, 4]}
        paths = {"stage8_1": [0.2, 0.3, 0.5]}
        workdir.append_history({"phase": "search", "step": step, "cost": cost, "kept": kept, "paths": paths})
    workdir.append_history({"phase": "search", "step": 40, "miou": 0.5})
    workdir.finish("search", {"predicted_cost": 1.97, "sliced_miou": 0.2, "recalibrated_miou": 0.3})
    return Search("published", 2.0, 0, workdir)


ARCH = ArchSpec(RTSeg(3), {"detail": 20, "stage8": 16}, {"stage8_1": "lir"})


def test_row_of_a_finished_search(search: Search):
    row = row_of(search, ARCH, 2.1)
    assert (row.soft, row.soft_last) == (pytest.approx(1.15), pytest.approx(1.2))
    assert (row.predicted, row.measured) == (pytest.approx(0.985), pytest.approx(1.05))
    assert (row.paths, row.moved) == ({"stage8_1": "lir"}, 1)
    assert (row.searched_channels, row.decided_channels) == (32, 36)
    assert (row.changed_channels, row.all_channels, row.miou) == (4 + 8, 48, 0.3)


def test_what_is_measured_is_what_the_search_decided_on(search: Search, monkeypatch: pytest.MonkeyPatch):
    ARCH.save(search.workdir.searched)  # there is no architecture.json: nothing was trained that could be handed over
    measured: list[ArchSpec] = []

    def measure(archs: list[ArchSpec], *_: object) -> list[Timing]:
        measured.extend(archs)
        return [Timing(2.1, 15, 0.0)]

    monkeypatch.setattr(landing, "measure_networks_in_child", measure)
    (row,) = landing.evaluated([search], load_config("quickstart"))
    assert measured == [ARCH]
    assert row == row_of(search, ARCH, 2.1)


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({}, "searches", 2),
        ({"predicted": 0.979}, "predicted_in_landing", 1),
        ({"predicted": 1.001}, "predicted_in_landing", 1),
        ({"measured": 0.949}, "measured_within_5_percent", 1),
        ({"measured": 1.051}, "measured_within_5_percent", 1),
        ({"target_ms": 1.99, "measured": 1.02}, "measured_rises", True),
        ({"target_ms": 1.99}, "measured_rises", False),
        ({"target_ms": 1.99}, "predicted_rises", False),
    ],
)
def test_verdict(changes, name, value):
    rows = [ROW, dataclasses.replace(ROW, **({"target_ms": 3.0, "soft": 0.9} | changes))]
    found = verdict(rows)
    assert found[name] == value
    assert passed(found) is (changes == {})
    assert (found["soft_within_5_percent"], found["changed_channels"]) == (1, 0.1)
    assert found["largest_soft_gap"] == pytest.approx(0.1)


def test_seeds_rise_each_for_itself():
    assert passed(verdict([ROW, dataclasses.replace(ROW, seed=1)]))


def test_table():
    rows = [dataclasses.replace(ROW, moved=1)]
    text = markdown(rows, {"published": verdict(rows)})
    assert (
        "| published | 2.000 | 0 | 1.020 | 0.9900 | 1.010 | skip lir (1 moved) | 60 → 56 of 80 | 8 | 25.0 |"
    ) in text.splitlines()
    line = text.splitlines()[-1]
    assert line.startswith("published: passed; ")
    assert json.loads(line.removeprefix("published: passed; "))["searches"] == 1
