"""Files of a sweep that several processes build: in their order, and with errors as they were."""

import multiprocessing
import os
import signal

import pytest
from latency import pretending
from latency.synthetic import SIZE, SPEC

from rtseg_jax.architecture import declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.latency import building
from rtseg_jax.latency.devices import make_backend
from rtseg_jax.latency.devices.jax_module import JaxModule
from rtseg_jax.latency.sampling import sample_blocks, sample_networks
from rtseg_jax.latency.subjects import Subject

BLOCKS = sample_blocks(SPEC, SIZE, 3, seed=0)
NAMES = [block.block for block in BLOCKS]


@pytest.fixture(autouse=True)
def processors(monkeypatch: pytest.MonkeyPatch):
    """Two of them, and few blocks are enough."""
    monkeypatch.setattr(building, "WORTH", 4)
    monkeypatch.setattr(building, "built_file", pretending.written)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def kill_them_while_building(number: int) -> None:
    backend = make_backend("host_cpu", 1, 1, "litert", "dynamic")
    with building.building(backend, BLOCKS * number) as (build, at_once):
        assert at_once
        found = [model.decode().split() for model in build(BLOCKS * number)]
        assert [words[1:] for words in found] == [[name, "litert", "dynamic"] for name in NAMES] * number
        workers = {process.pid for process in multiprocessing.active_children()}
        assert {int(words[0]) for words in found} <= workers
        assert len(workers) == 2
        for worker in workers:
            os.kill(worker or 0, signal.SIGKILL)
        list(build(BLOCKS))


def test_processes_build_in_order_and_one_that_is_killed_is_told_of():
    with pytest.raises(UserError, match="was killed, perhaps for memory; what was measured is kept"):
        kill_them_while_building(4)
    assert multiprocessing.active_children() == []


def test_errors_come_back_as_they_were():
    backend = make_backend("host_cpu", 1, 1, "litert", "fp16")
    with building.building(backend, BLOCKS * 2) as (build, _):
        models = build(BLOCKS)
        with pytest.raises(UserError, match=f"^block {NAMES[0]}: litert writes no fp16$"):
            next(iter(models))


@pytest.mark.parametrize(("processors", "subjects"), [(1, BLOCKS * 2), (2, BLOCKS)])
def test_processes_are_not_started_where_they_do_not_pay(
    processors: int, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    backend = make_backend("host_cpu", 1, 1)
    monkeypatch.setattr(backend, "build", lambda subject: subject.block)
    with building.building(backend, subjects) as (build, at_once):
        assert not at_once
        assert list(build(BLOCKS)) == NAMES


def test_what_is_no_file_is_built_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(JaxModule, "build", lambda self, subject: subject.block)
    with building.building(JaxModule("jax", 1), BLOCKS * 2) as (build, at_once):
        assert not at_once
        assert list(build(BLOCKS)) == NAMES


def test_a_network_counts_as_its_blocks():
    (arch,) = sample_networks(SPEC, 1, seed=0)
    expected = len(declare_spec(arch).plain_blocks)
    assert [building.blocks_in(subject) for subject in (*BLOCKS, Subject(arch, SIZE))] == [1, 1, 1, expected]
