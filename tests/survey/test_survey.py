"""The survey: what is measured when, what stands in the table, and how orders are compared."""

import csv
import dataclasses
import io
import json
import os
import subprocess

import jax
import jax.numpy as jnp
import pytest

from rtseg_jax.architecture import ArchSpec, counts, declare, network_classes
from rtseg_jax.architecture.network_spec import Published, Score, Speed, survey_speeds
from rtseg_jax.benchmark_tflite import Latency
from rtseg_jax.errors import UserError
from rtseg_jax.files import write_json
from rtseg_jax.latency.backend import Refused
from rtseg_jax.latency.devices.jax_module import Program
from rtseg_jax.latency.subjects import Subject
from rtseg_jax.survey import __main__, child, entrants, measuring, ranking, rows, table
from rtseg_jax.survey.measuring import Found, Request
from rtseg_jax.survey.rows import Protocol
from rtseg_jax.visualization.survey_plot import COLOURS, Point, plot_survey
from rtseg_jax.zoo import BiSeNetV2

TINY = ArchSpec(BiSeNetV2(3, width=0.25, segment_blocks=(1, 1, 1)), {}, {})
SIZES = ((32, 64), (64, 128), (128, 256))
CARD = {"device": "a stopwatch", "runtime": "none", "precision": "float32", "threads": 1, "warmup": 3}


def latency(ms, clock="CPU time of the thread"):
    return Latency(clock, ms, ms, ms, ms, ms, 0.25)


class Device:
    """Takes `ms` for 32×64 pixels and as much more as there are pixels; refuses what is in `refuses`."""

    def __init__(self, ms=100.0, refuses=()):
        self.ms, self.refuses, self.seen = ms, refuses, []

    def __call__(self, subject, asked, passes):
        self.seen.append((subject.image_size, passes))
        if subject.image_size in self.refuses:
            raise Refused("GATHER_ND: not supported")
        ms = self.ms * subject.image_size[0] * subject.image_size[1] / (32 * 64)
        return Found(passes, (latency(2 * ms, "wall time"), latency(ms)), CARD)


def request(out, sizes=SIZES, **asked):
    return Request("tiny", TINY, sizes, Protocol("host_cpu", **asked), out)


# --- measuring ---


def test_a_smaller_size_says_how_many_passes_and_which_sizes(tmp_path):
    device = Device(ms=100.0)  # 0.1 s, 0.4 s, 1.6 s a pass
    found = measuring.measure_sizes(request(tmp_path, passes=20, most_seconds=4.0, slowest_seconds=1.0), device)
    assert device.seen == [((32, 64), 20), ((64, 128), 10)]
    assert [row.passes for row in found] == [20, 10, 0]
    assert found[2].left_out == "a pass would take some 1.6 s, more than 1 s"
    assert measuring.number_of_passes(Protocol("x", passes=20, most_seconds=1.0), 9.0) == rows.FEWEST
    assert measuring.number_of_passes(Protocol("x", passes=3, most_seconds=1.0), 9.0) == 3
    assert measuring.number_of_passes(Protocol("x", passes=20), 9.0) == 20


def test_a_survey_goes_on_where_it_was_stopped(tmp_path):
    measuring.measure_sizes(request(tmp_path, slowest_seconds=1.0), Device())
    again = Device()
    found = measuring.measure_sizes(request(tmp_path, slowest_seconds=1.0), again)
    assert again.seen == []
    assert [row.latency and row.latency.mean_ms for row in found] == [100.0, 400.0, None]
    # What was too slow is not any more; what was measured is measured.
    measuring.measure_sizes(request(tmp_path, slowest_seconds=2.0), again)
    assert again.seen == [((128, 256), 100)]
    # Other passes or another network are other rows.
    measuring.measure_sizes(request(tmp_path, SIZES[:1], passes=7), again)
    other = ArchSpec(BiSeNetV2(4, width=0.25, segment_blocks=(1, 1, 1)), {}, {})
    measuring.measure_sizes(dataclasses.replace(request(tmp_path, SIZES[:1], passes=7), arch=other), again)
    assert again.seen[1:] == [((32, 64), 7)] * 2


def test_a_refusal_is_a_row(tmp_path):
    found = measuring.measure_sizes(request(tmp_path), Device(refuses=[(64, 128)]))
    assert [row.refused for row in found] == [None, "GATHER_ND: not supported", None]
    assert found[1].fps is None
    assert found[0].parameters == counts.parameters(declare(TINY.network))
    assert found[0].gmacs == counts.macs(declare(TINY.network), (32, 64)) / 1e9
    assert found[0].latency == latency(100.0)  # the last clock is that of the table
    assert found[0].fps == 10.0


def test_a_damaged_row_is_named(tmp_path):
    (row,) = measuring.measure_sizes(request(tmp_path, SIZES[:1]), Device())
    rows.path_of(tmp_path, "host_cpu", "tiny", (32, 64)).write_text("{")
    with pytest.raises(UserError, match="not a row of a survey"):
        rows.find_row(tmp_path, row)


def test_files_are_timed_in_a_process_of_their_own(tmp_path):
    """The real thing: conversion, LiteRT, both clocks, and a row on disk."""
    asked = request(tmp_path, SIZES[:1], passes=4)
    assert Request.from_json(json.dumps(asked.to_json())) == asked
    child.measure_in_child(asked)
    row = rows.find_row(tmp_path, rows.empty_row("tiny", TINY, (32, 64), asked.asked))
    assert [one.clock for one in row.latencies] == ["wall time", "CPU time of the thread"]
    assert row.passes == 4
    assert row.latency.min_ms <= row.latency.p50_ms <= row.latency.p90_ms
    assert row.card["runtime"].startswith("LiteRT")


@pytest.mark.parametrize("cpus", [1, 2])
def test_jax_waits_for_every_pass(cpus, monkeypatch):
    """Of a stand-in for a program; the CPU time of a process that has several is no latency."""
    program = Program(lambda: jnp.zeros(3), "text")
    monkeypatch.setattr("rtseg_jax.latency.devices.jax_module.JaxModule.build", lambda *_: program)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    found = measuring.on_device(Subject(TINY, (32, 64)), Protocol("jax"), 3)
    clocks = ["wall time", "CPU time of the process"][: 2 if cpus == 1 else 1]
    assert [latency.clock for latency in found.latencies] == clocks
    assert found.passes == 3
    assert 0 < found.latencies[0].min_ms <= found.latencies[0].mean_ms
    assert found.card["backend"] == "jax"


def test_a_device_without_memory_refuses(monkeypatch):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr("rtseg_jax.latency.devices.jax_module.JaxModule.build", full)
    with pytest.raises(Refused, match="jax: out of memory"):
        measuring.on_device(Subject(TINY, (32, 64)), Protocol("jax"), 3)


def test_a_process_that_fails_says_why(tmp_path, monkeypatch):
    killed = subprocess.CompletedProcess([], -9, "one\ntwo\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: killed)
    with pytest.raises(UserError, match=r"measuring tiny ended with status -9: one \| two"):
        child.measure_in_child(request(tmp_path))


# --- who takes part ---


def test_all_networks_without_choices_take_part():
    names = [entrant.name for entrant in entrants.of_zoo()]
    assert set(names) == set(network_classes()) - {"rtseg"}
    with pytest.raises(UserError, match="names rtseg, a supernet"):
        entrants.of_zoo(["rtseg"])


def test_the_score_that_is_shown():
    """Test before val, the survey's before RTSeg's; what the survey plots."""
    shown = {entrant.name: entrant.score for entrant in entrants.of_zoo(["stdc1", "linknet", "erfnet", "unet"])}
    assert shown["stdc1"] == Score("Cityscapes", "test", 75.3, "survey", pretrained=True)
    assert shown["linknet"] == Score("Cityscapes", "val", 76.4, "survey", pretrained=True)
    assert shown["erfnet"] == Score("Cityscapes", "test", 69.7, "survey", pretrained=True)
    assert shown["unet"] is None


def test_speeds_of_the_survey():
    """Its Table IV has 26 rows, of which ICNet's is at another size; BiSeNetV2 was timed as its base."""
    workstation = {
        entrant.name: {speed.size: speed.fps for speed in entrant.published.speeds if speed.device == "RTX 3090"}
        for entrant in entrants.of_zoo()
    }
    full = {name: speeds[1024, 2048] for name, speeds in workstation.items() if (1024, 2048) in speeds}
    assert len(full) == 25
    assert "bisenetv2_l" not in full
    assert max(full, key=full.get) == "fast_scnn"  # the survey's bold figures
    assert max(workstation["fast_scnn"].values()) == 355.1
    fastest = max((name for name in full), key=lambda name: workstation[name][256, 512])
    assert (fastest, workstation[fastest][256, 512]) == ("espnet", 412.9)
    assert workstation["icnet"] == {(1025, 2049): 111.3}


def workdir(root, miou=0.5):
    TINY.save(root / "architecture.json")
    lines = [{"name": "supernet", "miou": 0.9}, {"name": "searched", "miou": miou}]
    results = {"config": {"data": {"name": "camvid"}}, "choice": {"best": "searched"}}
    write_json(root / "results.json", {**results, "phases": {"evaluate": {"table": lines}}})
    return root


def test_a_run_takes_part_with_its_own_score(tmp_path):
    entrant = entrants.of_run(workdir(tmp_path / "my-run"))
    assert (entrant.name, entrant.published.title, entrant.arch) == ("my_run", "own: my-run", TINY)
    assert entrant.score == Score("camvid", "val", 50.0, "this run", pretrained=False)
    (tmp_path / "my-run/results.json").unlink()
    assert entrants.of_run(tmp_path / "my-run").score is None
    with pytest.raises(UserError, match="no architecture"):
        entrants.of_run(tmp_path)
    with pytest.raises(UserError, match="my_run: named twice"):
        entrants.unique([entrant, entrant])


# --- orders ---


def entrant_of(name, *speeds):
    published = Published(name.upper(), "", "ED", "", speeds=tuple(Speed("A", (32, 64), s, "survey") for s in speeds))
    return entrants.Entrant(name, TINY, published)


def row_of(name, fps, size=(32, 64)):
    empty = rows.empty_row(name, TINY, size, Protocol("host_cpu"))
    return dataclasses.replace(empty, latencies=(latency(1e3 / fps),), passes=1, card=CARD, date="2026-01-01")


def test_orders_by_hand():
    """ρ = 1 − 6 Σ d² / (n (n² − 1)) with d = (0, 1, −1, 0) of four; c is not published, e is not measured."""
    who = [entrant_of("a", 40.0), entrant_of("b", 30.0), entrant_of("c"), entrant_of("d", 20.0), entrant_of("f", 10.0)]
    measured = [row_of("a", 9), row_of("b", 5), row_of("c", 50), row_of("d", 6), row_of("f", 1)]
    (found,) = ranking.rankings([*who, entrant_of("e", 99.0)], measured)
    assert found.correlation == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found.places == {"a": (1, 1), "b": (3, 2), "d": (2, 3), "f": (4, 4)}
    assert found.moved(2) == ["b", "d"]
    assert ranking.rankings(who, measured[:2]) == []  # too few to speak of an order
    assert ranking.places({"x": 3.0, "y": 3.0, "z": 1.0}) == {"x": 1, "y": 1, "z": 3}


# --- table and plot ---


def command(*arguments):
    return __main__.COMMAND.execute(arguments, "survey")


@pytest.fixture
def device(monkeypatch):
    stand_in = Device(refuses=[(64, 128)])
    monkeypatch.setattr(__main__, "measure_in_child", lambda request: measuring.measure_sizes(request, stand_in))
    return stand_in


def test_the_command_writes_table_and_plot(tmp_path, device, capsys):
    flags_ = [f"--out={tmp_path}", "--sizes=64x32,128x64", "--networks=fast_scnn,enet,erfnet"]
    assert command(*flags_, f"--workdir={workdir(tmp_path / 'mine')}") == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "host_cpu.md")
    text = (tmp_path / "host_cpu.md").read_text()
    assert "| own: mine | own | 50.0 camvid val, this run, not pre-trained |" in text
    assert "| ERFNet | encoder-decoder | 69.7 Cityscapes test, survey, pre-trained | 2.06 | refused | 10 |" in text
    assert "- enet at 128x64: GATHER_ND: not supported" in text
    lines = list(csv.DictReader(io.StringIO((tmp_path / "host_cpu.csv").read_text())))
    assert [(line["network"], line["width"], line["fps"]) for line in lines[:2]] == [
        ("fast_scnn", "128", ""),
        ("fast_scnn", "64", "10.0"),
    ]
    assert (lines[3]["mean_ms"], lines[3]["wall_mean_ms"], lines[3]["clock"]) == (
        "100.0",
        "200.0",
        "CPU time of the thread",
    )
    whole = json.loads((tmp_path / "host_cpu.json").read_text())
    assert [network["name"] for network in whole["networks"]] == ["fast_scnn", "enet", "erfnet", "mine"]
    assert (tmp_path / "host_cpu.png").read_bytes().startswith(b"\x89PNG")
    device.seen.clear()
    command(*flags_)
    assert device.seen == []


def test_orders_stand_in_the_table():
    who = [entrant_of(name, speed) for name, speed in (("a", 40.0), ("b", 30.0), ("c", 20.0))]
    measured = [row_of("a", 9), row_of("b", 5), row_of("c", 6)]
    page = table.markdown(table.Survey(who, measured, ranking.rankings(who, measured)))
    assert "| A, 64x32 | 3 | 0.50 | B 2 → 3, C 3 → 2, A 1 → 1 |" in page


def test_a_network_that_fails_is_named_and_the_others_are_in_the_table(tmp_path, monkeypatch, capsys):
    def fail_one(request):
        if request.name == "enet":
            raise UserError("measuring enet ended with status -9: ")
        measuring.measure_sizes(request, Device())

    monkeypatch.setattr(__main__, "measure_in_child", fail_one)
    assert command(f"--out={tmp_path}", "--sizes=64x32", "--networks=fast_scnn,enet") == 2
    assert "measuring enet ended with status -9: ; the same command tries again" in capsys.readouterr().err
    assert "Fast-SCNN" in (tmp_path / "host_cpu.md").read_text()
    assert "ENet" not in (tmp_path / "host_cpu.md").read_text()


def test_plot():
    """Hollow marks were scored on val; the red line is at 30."""
    points = [
        Point("one", "encoder-decoder", 10.0, 60.0, True),
        Point("two", "attention", 100.0, 70.0, False),
        Point("mine", "own", 20.0, 65.0, False),
    ]
    axes, other = plot_survey({"big": points, "small": points[:1]}).axes
    assert (axes.get_title(), other.get_title()) == ("big", "small")
    assert [tuple(mark.get_offsets()[0]) for mark in axes.collections] == [(10.0, 60.0), (100.0, 70.0), (20.0, 65.0)]
    faces = [tuple(mark.get_facecolors()[0][:3]) for mark in axes.collections]
    assert faces[1] == faces[2] == (1.0, 1.0, 1.0) != faces[0]
    assert [text.get_text() for text in axes.texts] == ["one", "two", "mine"]
    assert axes.get_xscale() == "log"
    line = next(line for line in axes.lines if list(line.get_xdata()) == [30.0, 30.0])
    assert line.get_color() == "#cc3311"
    assert set(table.TAXONOMY.values()) == set(COLOURS)


def test_a_row_of_table_iv():
    assert survey_speeds(3.0, 2.0, 1.0, 0.5) == (
        Speed("RTX 3090", (1024, 2048), 3.0, "survey"),
        Speed("RTX 3090", (512, 1024), 2.0, "survey"),
        Speed("RTX 3090", (256, 512), 1.0, "survey"),
        Speed("Jetson Xavier AGX", (256, 512), 0.5, "survey"),
    )
