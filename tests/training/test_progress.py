"""What is measured and logged while a phase runs, and traces of its steps."""

import json
import types

import jax
import pytest

from rtseg_jax.config import base_config, run_spec
from rtseg_jax.errors import UserError
from rtseg_jax.search.cost import Target
from rtseg_jax.training import progress
from rtseg_jax.training.profiling import Trace
from rtseg_jax.training.progress import Reporter, device_peak_gib, status_line
from rtseg_jax.training.workdir import Workdir
from rtseg_jax.visualization.history import read_history


class Clock:
    """A clock that others turn on."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


def test_speed_and_waiting_are_those_since_the_row_before(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(progress, "device_peak_gib", lambda: 1.5)
    reporter = Reporter(Workdir(tmp_path), "train", 4, 8, batch_size=16, target=None, group_sizes={}, tensorboard=False)

    def slow():
        for seconds in (1.0, 3.0, 0.0, 0.0):
            clock.now += seconds
            yield {}

    for step, _ in enumerate(reporter.timed(slow()), 5):
        clock.now += 4.0
        if step % 2 == 0:
            reporter.log(step, {"losses": {"total": 1.0}})
    reporter.close()
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    # Two steps in 12 s, of which 4 s went by without pictures; then two in 8 s.
    assert [row["steps_per_second"] for row in rows] == pytest.approx([2 / 12, 2 / 8])
    assert [row["pictures_per_second"] for row in rows] == pytest.approx([32 / 12, 32 / 8])
    assert [row["input_wait"] for row in rows] == pytest.approx([4 / 12, 0.0])
    assert [row["device_peak_gib"] for row in rows] == [1.5, 1.5]
    assert "33 % waiting for pictures" in status_line(rows[0], None)
    assert "waiting" not in status_line(rows[1], None)


@pytest.mark.parametrize(
    ("unit", "said"),
    [("ms", "latency 4.20/5.00 ms, 3/6 channels kept"), ("GMACs", "cost 4.20/5.00 GMACs, 3/6 channels")],
)
def test_costs_are_logged_with_their_unit(tmp_path, capsys, unit, said):
    of = {"batch_size": 1, "target": Target(5.0, unit), "group_sizes": {"a": 6}, "tensorboard": False}
    reporter = Reporter(Workdir(tmp_path), "search", 0, 8, **of)
    reporter.log(1, {"losses": {"total": 1.0, "cost": 0.1}, "cost": 4.2, "kept": {"a": 3.0}})
    reporter.close()
    (row,) = read_history(tmp_path / "history.jsonl")
    assert (row["cost"], row["cost_unit"]) == (4.2, unit)
    assert said in " ".join(capsys.readouterr().out.split())


def test_memory_is_told_where_devices_tell_it(monkeypatch):
    def devices(*peaks):
        stats = [None if peak is None else {"peak_bytes_in_use": peak} for peak in peaks]
        return [types.SimpleNamespace(memory_stats=lambda value=value: value) for value in stats]

    monkeypatch.setattr(jax, "local_devices", lambda: devices(2**30, 3 * 2**30))
    assert device_peak_gib() == 3.0
    monkeypatch.setattr(jax, "local_devices", lambda: devices(None))
    assert device_peak_gib() is None


def test_a_trace_holds_the_steps_that_were_asked_for(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", calls.append)
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))

    def traced(first, last, asked):
        calls.clear()
        trace = Trace(tmp_path, asked)
        for step in range(first, last + 1):
            trace.before(step)
            calls.append(step)
            trace.after(step, {})
        trace.close()
        return list(calls)

    assert traced(1, 5, (2, 3)) == [1, str(tmp_path), 2, 3, "stop", 4, 5]
    assert traced(1, 2, (2, 9)) == [1, str(tmp_path), 2, "stop"]  # the phase ends first
    assert traced(4, 5, (3, 4)) == [str(tmp_path), 4, "stop", 5]  # the phase is resumed inside
    assert traced(1, 2, None) == [1, 2]


def test_a_trace_is_written_for_xprof(tmp_path):
    trace = Trace(tmp_path / "profile", (1, 1))
    trace.before(1)
    trace.after(1, jax.numpy.ones(3) + 1)
    assert list((tmp_path / "profile").glob("plugins/profile/*/*.xplane.pb"))


@pytest.mark.parametrize("steps", [(3,), (0, 2), (5, 4)])
def test_steps_to_trace_are_first_and_last(steps):
    config = base_config()
    config.profile_steps = steps
    with pytest.raises(UserError, match=r"config\.profile_steps is .* first and the last step"):
        run_spec(config)
