"""Backends, samples, files of measurements and sweeps; one real sweep in a child process, as small as can be."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from synthetic import CARD, SPEC, block_ms, network_ms

from rtseg_jax import measure_latency
from rtseg_jax.architecture import MIXED, ArchSpec, Block, declare, declare_spec
from rtseg_jax.config import base_config, run_spec
from rtseg_jax.errors import UserError
from rtseg_jax.export.spec import PRECISIONS
from rtseg_jax.files import read_rows
from rtseg_jax.latency import LatencyModel, LatencySpec, arch_latency, child, devices, sampling, sweep, turns
from rtseg_jax.latency.backend import Timing, merged, noise_warning, timing_of
from rtseg_jax.latency.child import measure_networks_in_child, run_sweep_in_child
from rtseg_jax.latency.devices import make_backend
from rtseg_jax.latency.fitting import fit
from rtseg_jax.latency.measurements import Measurements, Origin
from rtseg_jax.latency.sampling import block_groups, sample_blocks, sample_networks, sample_unseen_networks
from rtseg_jax.latency.subjects import Subject, block_subject
from rtseg_jax.zoo import RTSeg

FAST = LatencySpec(device="formula", num_blocks=12, num_networks=3, num_unseen=2, image_size=(64, 128))
RECORDED = Path(__file__).with_name("host_measurements.jsonl")
ORIGIN = Origin("3f", "2026-02-03")
TINY = RTSeg(num_classes=3, width=0.1, segment_blocks=(1, 0, 1))


class Formula:
    """A backend whose models are JSON, and which can fail after some of them."""

    name = "formula"
    measured = 0
    limit = 10**9

    def build(self, subject: Subject) -> str:
        declared = subject.declare()
        if isinstance(declared, Block):
            return json.dumps(block_ms(declared, subject.image_size))
        assert subject.image_size == FAST.image_size
        return json.dumps(network_ms(declared))

    def digest(self, model: str) -> str:
        return f"digest of {model}"

    def measure(self, model: str) -> Timing:
        Formula.measured += 1
        if Formula.measured > Formula.limit:
            raise RuntimeError("the device went away")
        return Timing(json.loads(model), 1, 0.0)

    def card(self) -> dict:
        return CARD


@pytest.fixture
def formula(monkeypatch: pytest.MonkeyPatch) -> type[Formula]:
    monkeypatch.setitem(devices.BACKENDS, "formula", lambda threads, runs: Formula())
    monkeypatch.setattr(sweep, "fit", functools.partial(fit, steps=10))
    monkeypatch.setattr(Formula, "measured", 0)
    return Formula


def silent(done: int, total: int, text: str) -> None:
    assert 0 <= done <= total
    assert text


def test_unknown_devices_are_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="host_cpu"):
        make_backend("hostcpu", 1, 1)


@pytest.mark.parametrize(
    "fields",
    [{"threads": 0}, {"num_blocks": 0}, {"target_ms": -1.0}, {"target_fraction": 0.0}, {"target_fraction": None}],
)
def test_impossible_settings_are_refused(fields: dict):
    with pytest.raises(UserError, match=next(iter(fields))):
        LatencySpec(**fields)


def test_numbers_that_no_file_of_the_device_can_have_are_refused():
    with pytest.raises(
        UserError, match=r"latency\.precision is 'int4': it must be one of float32, fp16, dynamic, int8, "
    ):
        LatencySpec(precision="int4")
    with pytest.raises(UserError, match="the converter litert writes float32 only"):
        LatencySpec(precision="int8", converter="litert")
    for device in ("jax", "analytic"):
        with pytest.raises(UserError, match=f"--precision is 'int8', but the device '{device}' times no files"):
            devices.check_precision(device, "int8", "--precision")
        devices.check_precision(device, "float32")
    config = base_config()
    config.data.name, config.latency.device, config.latency.precision = "synthetic_streets", "adreno660", "dynamic"
    with pytest.raises(UserError, match=r"config\.latency\.precision is 'dynamic'"):
        run_spec(config)
    config.latency.device = "host_cpu"
    assert run_spec(config).latency.precision == "dynamic"


def test_cards_tell_the_numbers_of_the_files():
    cards = {p: sweep.card_of(sweep.backend_of(spec), spec) for p in PRECISIONS if (spec := LatencySpec(precision=p))}
    assert {name: card["precision"] for name, card in cards.items()} == {
        "float32": "float32",
        "fp16": "fp16 files; floats: float32",
        "dynamic": "dynamic files; floats: float32",
        "int8": "int8 files; floats: float32",
        "int8_float_attention": "int8_float_attention files; floats: float32",
    }
    assert [card["files"] for card in cards.values()] == list(PRECISIONS)
    models = [LatencyModel({}, (), card, {}) for card in (*cards.values(), CARD)]  # the last is one of before
    assert [model.precision for model in models] == [*PRECISIONS, "float32"]


def test_target_is_milliseconds_or_a_fraction():
    assert LatencySpec(target_fraction=0.25).target(8.0) == 2.0
    assert LatencySpec(target_ms=3.0).target(8.0) == 3.0


def test_timing_of_wall_time_is_the_minimum_and_of_cpu_time_the_lower_quartile():
    seconds = [0.005, 0.002, 0.0, 0.004, 0.003, 0.006]
    assert timing_of(seconds) == Timing(2.0, 5, 1.0)
    assert timing_of(seconds, cpu_time=True).ms == 3.0
    assert merged([Timing(1.1, 5, 0.2), Timing(1.0, 3, 0.3)]) == Timing(1.0, 8, 0.3)
    assert merged([Timing(9.0, 5, 9.0), Timing(1.5, 5, 0.0), Timing(1.0, 5, 0.0)]) == Timing(1.0, 15, 0.5)


def test_rounds_go_on_until_the_lowest_three_agree(formula: type[Formula], monkeypatch: pytest.MonkeyPatch):
    left = {
        "steady": [5.0, 5.08, 5.05],
        "one low": [5.0, 5.01, 4.0, 4.04, 4.07],
        "late": [4.0, 3.0, 2.0, 2.02, 2.03],
        "never": [20.0 - number for number in range(12)],
    }
    monkeypatch.setattr(formula, "measure", lambda self, model: Timing(left[model].pop(0), 1, 0.0))
    timings = turns.in_turns(formula(), list(left))
    nexts = ((5.0, 3, 5.05), (4.0, 5, 4.04), (2.0, 5, 2.02), (9.0, 12, 10.0))
    assert timings == [Timing(ms, rounds, second / ms - 1) for ms, rounds, second in nexts]
    assert not any(left.values())


def test_samples_visit_every_type_at_its_full_and_smallest_widths():
    network = declare(SPEC)
    named = {block.name: block for block in network.plain_blocks}
    sample = sample_blocks(SPEC, (64, 128), 40, seed=3)
    assert sample == sample_blocks(SPEC, (64, 128), 40, seed=3)
    assert sample != sample_blocks(SPEC, (64, 128), 40, seed=4)
    kinds = [named[subject.block].kind for subject in sample]
    assert len(set(kinds)) == 8
    assert {kind: kinds.count(kind) for kind in set(kinds)} == dict.fromkeys(kinds, 5) | {"stem": 4, "conv": 6}
    groups = {group.name: group for group in network.searched_groups}
    for subject in sample[:8]:
        assert all(width == groups[name].size for name, width in subject.arch.widths.items())
    for subject in sample[8:16]:
        assert all(width == groups[name].floor for name, width in subject.arch.widths.items())
    for subject in sample:
        widths = subject.arch.widths
        assert set(widths) == {group.name for group in block_groups(named[subject.block])}
        assert all(groups[group].snap(width) == width for group, width in widths.items())
    assert {subject.image_size for subject in sample[:31]} == {(64, 128)}  # one stem came twice, and was drawn once
    scaled = [subject.image_size for subject in sample[31:39]]  # 0.5, 1.25 and 0.75 in turn, in whole multiples of 32
    assert scaled == [(32, 64), (64, 160), (64, 96)] * 2 + [(32, 64), (64, 160)]


def test_no_block_is_sampled_twice_and_small_spaces_have_an_end(monkeypatch: pytest.MonkeyPatch):
    sample = sample_blocks(TINY, (32, 64), 200, seed=0)
    assert len({json.dumps(subject.to_json()) for subject in sample}) == 200
    assert sample_blocks(TINY, (32, 64), 40, seed=0) == sample[:40]
    monkeypatch.setattr(sampling, "DRAWS", 1)
    fewer = sample_blocks(TINY, (32, 64), 200, seed=0)
    assert 40 < len(fewer) < 200
    assert fewer == sample[: len(fewer)]


def test_networks_to_judge_by_are_others_than_those_that_are_fitted():
    spec = dataclasses.replace(FAST, num_networks=150, num_unseen=200)  # as many that a space of this size repeats some
    fitted = [s.arch.digest for s in sweep.sweep_subjects(TINY, spec) if s.block is None]
    unseen = [s.arch.digest for s in sweep.unseen_subjects(TINY, spec)]
    assert (len(set(fitted)), len(set(unseen)), len(set(fitted + unseen))) == (150, 200, 350)
    repeated = {arch.digest for arch in sample_unseen_networks(TINY, 200, seed=0)} & set(fitted)
    assert repeated
    assert unseen[:10] == [arch.digest for arch in sample_unseen_networks(TINY, 10, 0, sample_networks(TINY, 150, 0))]


def test_a_predictor_of_another_image_size_is_not_adapted(formula: type[Formula], tmp_path: Path):
    base = dataclasses.replace(sweep.sweep(SPEC, FAST, tmp_path, silent).model, card={**CARD, "image_size": [32, 64]})
    formula.measured = 0
    with pytest.raises(UserError, match=r"is of \[32, 64\]"):
        sweep.sweep(SPEC, FAST, tmp_path / "new", silent, base)
    assert formula.measured == 0
    of_floats = dataclasses.replace(base, card={**CARD, "image_size": list(FAST.image_size)})
    with pytest.raises(UserError, match="is of float32 files; measure at --precision of the same"):
        sweep.sweep(SPEC, dataclasses.replace(FAST, precision="int8"), tmp_path / "new", silent, of_floats)
    assert formula.measured == 0


def test_files_are_timed_as_they_are_among_architectures(formula: type[Formula], monkeypatch, tmp_path: Path):
    arch = sample_networks(SPEC, 1, seed=0)[0]
    (tmp_path / "model").write_bytes(b"2.5")  # of the formula: its milliseconds
    requests = []
    monkeypatch.setattr(child, "_run", lambda request, out, title: requests.append((request, out)))
    monkeypatch.setattr(Path, "read_text", lambda path: "[[1.0, 3, 0.0]]")
    child.measure_networks_in_child([arch, tmp_path / "model"], FAST.image_size, FAST)
    ((request, _),) = requests
    networks = [measure_latency._named(network) for network in request["networks"]]
    assert networks == [arch, b"2.5"]
    timings = sweep.measure_networks(networks, FAST, silent)
    assert [timing.ms for timing in timings] == [network_ms(declare_spec(arch)), 2.5]


def test_sampled_networks_can_be_declared_and_begin_with_the_supernet():
    archs = sample_networks(SPEC, 9, seed=0)
    supernet = declare(SPEC)
    assert archs[0].widths == {group.name: group.size for group in supernet.searched_groups}
    assert set(archs[0].paths.values()) == {MIXED}
    assert len({arch.digest for arch in archs}) == 9
    assert {path for arch in archs for path in arch.paths.values()} == {"skip", "lir", "mhsa", MIXED}
    for arch in archs:
        assert {group.name for group in declare_spec(arch).searched_groups} == set(arch.widths)


def test_sweep_goes_on_where_it_was_cut_off(formula: type[Formula], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(formula, "limit", turns.ROUNDS * turns.BATCH + 2)
    with pytest.raises(RuntimeError):
        sweep.sweep(SPEC, FAST, tmp_path, silent)
    assert len(read_rows(tmp_path / "measurements.jsonl")) == turns.BATCH
    monkeypatch.setattr(formula, "limit", 10**9)
    formula.measured = 0
    result = sweep.sweep(SPEC, FAST, tmp_path, silent)
    assert formula.measured == turns.ROUNDS * (12 + 3 + 2 - turns.BATCH)
    assert len(read_rows(tmp_path / "measurements.jsonl")) == 17
    formula.measured = 0
    again = sweep.sweep(SPEC, FAST, tmp_path, silent)
    assert (again.blocks, again.networks, again.model.errors) == (result.blocks, result.networks, result.model.errors)
    assert formula.measured == 0
    loaded = LatencyModel.load(tmp_path / "predictor.json")
    assert loaded.card["runs"] == turns.ROUNDS  # the formula times each model once a round
    assert loaded.errors == result.model.errors


def test_networks_that_were_not_fitted_judge_the_predictor(formula: type[Formula], tmp_path: Path):
    result = sweep.sweep(SPEC, FAST, tmp_path, silent)
    subjects = sweep.unseen_subjects(SPEC, FAST)
    points = result.networks[sweep.UNSEEN]
    assert [point.measured_ms for point in points] == [network_ms(declare_spec(subject.arch)) for subject in subjects]
    predicted = [arch_latency(subject.arch, FAST.image_size, result.model) for subject in subjects]
    assert [point.predicted_ms for point in points] == predicted
    assert [point.interval for point in points] == [result.model.interval(ms) for ms in predicted]
    errors = [abs(p.predicted_ms / p.measured_ms - 1) for p in points]
    assert result.model.errors[sweep.UNSEEN]["mape"] == pytest.approx(sum(errors) / 2)
    assert "unseen networks: " in sweep.summary(result.model)
    without = dataclasses.replace(FAST, num_unseen=0)
    again = sweep.sweep(SPEC, without, tmp_path, silent)
    jax.tree.map(np.testing.assert_array_equal, again.model.arrays, result.model.arrays)  # judges change nothing
    assert "coverage" not in again.model.errors[sweep.LEFT_OUT]  # the interval is made of these errors
    assert sweep.UNSEEN not in again.model.errors


def test_progress_counts_a_network_as_its_blocks(formula: type[Formula], tmp_path: Path):
    calls: list[tuple[int, int, str]] = []
    sweep.sweep(SPEC, FAST, tmp_path, lambda *call: calls.append(call))
    fitted = [subject.arch for subject in sweep.sweep_subjects(SPEC, FAST) if subject.block is None]
    unseen = [subject.arch for subject in sweep.unseen_subjects(SPEC, FAST)]
    archs = [fitted[0], unseen[0], fitted[1], unseen[1], fitted[2]]  # at 0, 0, 1/3, 1/2 and 2/3 of their lists
    blocks = [len(declare_spec(arch).plain_blocks) for arch in archs]
    assert blocks[0] == len(declare(SPEC).plain_blocks)
    expected = [*range(12), *(12 + sum(blocks[:n]) for n in range(6))]
    assert [done for done, _, _ in calls] == expected
    assert {total for _, total, _ in calls} == {12 + sum(blocks)}


def test_more_blocks_are_added_to_those_that_are_there(formula: type[Formula], tmp_path: Path):
    sweep.sweep(SPEC, FAST, tmp_path, silent)
    formula.measured = 0
    sweep.sweep(SPEC, dataclasses.replace(FAST, num_blocks=16), tmp_path, silent)
    assert formula.measured == turns.ROUNDS * 4


def test_measurements_of_other_conditions_are_left_alone(tmp_path: Path):
    path = tmp_path / "measurements.jsonl"
    subject = block_subject(SPEC, "detail_1_1", {"detail_1_1": 8}, (64, 128))
    Measurements(path, CARD).append(subject, Timing(1.5, 15, 0.1), ORIGIN)
    assert Measurements(path, CARD).timing(subject) == Timing(1.5, 15, 0.1)
    assert subject not in Measurements(path, {**CARD, "threads": 2})
    assert dataclasses.replace(subject, image_size=(32, 64)) not in Measurements(path, CARD)
    assert block_subject(SPEC, "detail_1_1", {"detail_1_1": 12}, (64, 128)) not in Measurements(path, CARD)


def test_the_card_tells_graphs_dates_and_noise_of_what_was_fitted(tmp_path: Path):
    measurements = Measurements(tmp_path / "measurements.jsonl", CARD)
    subjects = [block_subject(SPEC, "detail_1_1", {"detail_1_1": width}, (64, 128)) for width in (8, 12, 16, 20)]
    for subject, noise, origin in zip(
        subjects, (0.1, 0.2, 0.6, 9.0), ("a 2026-02-04", "b 2026-02-03", "c 2026-02-04", "d 2026-02-09"), strict=True
    ):
        measurements.append(subject, Timing(1.5, 15, noise), Origin(*origin.split()))
    card = Measurements(tmp_path / "measurements.jsonl", CARD).full_card(subjects[:3])
    assert card["graphs"] == f"{hashlib.sha256(b'a.b.c'.replace(b'.', bytes([10]))).hexdigest()} over 3 models"
    assert card["date"] == "2026-02-03 to 2026-02-04"
    assert card["noise"] == 0.2
    assert measurements.full_card(subjects[1:2])["date"] == "2026-02-03"
    assert card["graphs"] != measurements.full_card(subjects[:2])["graphs"]


def test_a_busy_device_is_told_of():
    assert noise_warning({"noise": 0.231}) == (
        "the device was busy while it was measured, times of the same model differ by 23 %; measure again when it does "
        "nothing else"
    )
    assert noise_warning({"noise": 0.05}) == noise_warning({}) == ""
    model = SimpleNamespace(unit="ms", card={**CARD, "device": "CPU", "noise": 0.1}, errors={})
    assert [line.split(",")[0] for line in sweep.summary(model).splitlines()] == [
        "ms of CPU; relative errors of predictions for what was held out:",
        "the device was busy while it was measured",
    ]


def test_a_line_cut_off_by_a_crash_is_dropped_and_a_broken_one_named(tmp_path: Path):
    path = tmp_path / "measurements.jsonl"
    measurements = Measurements(path, CARD)
    measurements.append(block_subject(SPEC, "detail_1_1", {"detail_1_1": 8}, (64, 128)), Timing(1.5, 15, 0.1), ORIGIN)
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    assert len(read_rows(path)) == 1
    assert path.read_text() == whole
    path.write_text(whole[:40] + "\n" + whole)
    with pytest.raises(UserError, match=r"measurements\.jsonl:1"):
        read_rows(path)


def test_sweep_and_networks_in_child_processes(tmp_path: Path):
    spec = LatencySpec(num_blocks=8, num_networks=2, num_unseen=1, runs=3, image_size=(32, 64))
    model = run_sweep_in_child(TINY, spec, tmp_path)
    rows = read_rows(tmp_path / "measurements.jsonl")
    assert len(rows) == 11
    assert all(0 < row["timing"]["ms"] < 1000 for row in rows)
    assert model.card["backend"] == "host_cpu"
    assert "LiteRT" in model.card["runtime"]
    assert model.card["graphs"].endswith("over 10 models")
    assert all(len(row["graph"]) == 64 for row in rows)
    (arch,) = (
        ArchSpec.from_json(row["arch"])
        for row in rows
        if row["block"] is None and MIXED in row["arch"]["paths"].values()
    )
    assert arch_latency(arch, spec.image_size, model) > 0
    (timing,) = measure_networks_in_child([arch], spec.image_size, spec)
    assert timing.runs >= 3
    assert timing.ms > 0


def test_failures_of_the_child_come_with_its_last_words(tmp_path: Path):
    with pytest.raises(UserError, match="did you mean 'host_cpu'"):
        run_sweep_in_child(TINY, LatencySpec(device="host_cp"), tmp_path)


def test_a_link_that_a_child_wants_opened_is_printed_once(tmp_path: Path, monkeypatch, capfd):
    script = tmp_path / "python"
    ask = "PROGRESS 0 1 open http://localhost:1/x/"
    script.write_text(f"#!/bin/sh\necho '{ask}'\necho '{ask}'\necho 'PROGRESS 1 1 fitting'\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    with pytest.raises(UserError, match="exit status 3"):
        run_sweep_in_child(TINY, LatencySpec(), tmp_path)
    assert capfd.readouterr().out.count("measuring latency: open http://localhost:1/x/\n") == 1


def test_real_measurements_are_fitted_and_predicted():
    """A sweep of 160 blocks, 24 networks and 24 unseen ones on a two-core machine, width 1.0, 256×512, one thread."""
    rows = read_rows(RECORDED)
    measurements = Measurements(RECORDED, rows[0]["conditions"])
    subjects = [Subject.from_json(row) for row in rows]
    fitted, unseen = subjects[:-24], subjects[-24:]
    seen = measurements.measured(fitted)
    assert (len(seen.blocks), len(seen.networks)) == (160, 24)
    card = measurements.full_card(fitted) | {"image_size": [256, 512], "runs": 15, "warmup": 3}
    result = sweep.judged(fit(seen, card), seen, unseen, measurements)
    model = result.model
    # The processor has AVX-512: 16 numbers in a register, and kernels of one or two registers for full convolutions.
    assert model.arrays["tiles"].tolist() == [[16, 32], [16, 16], [16, 16], [1, 1]]
    assert model.errors["held-out blocks"]["mape"] < 0.03
    assert model.errors["unseen widths"]["mape"] < 0.03
    assert model.errors["unseen resolution"]["mape"] < 0.03
    assert model.errors[sweep.UNSEEN]["mape"] < 0.02
    assert model.errors[sweep.UNSEEN]["within_5"] == 1.0
    assert model.errors[sweep.UNSEEN]["spearman"] > 0.99
