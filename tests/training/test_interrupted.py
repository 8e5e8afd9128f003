"""Runs that are killed, told to end, or shared by two processes: in the end they are the run that nobody disturbed."""

import json
import signal
import socket
import time

import jax
import numpy as np
import pytest
from shrinking import PLAIN, ROOT, start, write_config

from rtseg_jax.architecture import ArchSpec, declare_spec
from rtseg_jax.models import SegmentationNetwork
from rtseg_jax.training.checkpoints import load_newest
from rtseg_jax.training.preemption import RESTART
from rtseg_jax.training.progress import MEASURED
from rtseg_jax.training.run import zero_variables
from rtseg_jax.training.workdir import Workdir

pytestmark = pytest.mark.xdist_group("interrupted")  # they share the undisturbed run, and what XLA compiled

STEPS = 4
SECONDS = 900  # after which a process that hangs is given up; nothing is asserted about time


class Place:
    """A folder for runs of one config."""

    def __init__(self, folder, predictor):
        self.folder, self.predictor = folder, predictor
        self.config = write_config(folder / "config.py", "quickstart", predictor, steps=STEPS)

    def start(self, name, *extra, **others):
        """A run in a process of its own."""
        variables = {"PLAIN_LOG": str(self.folder / f"{name}.log"), "PLAIN_PREDICTOR": str(self.predictor)}
        measured = "--config.latency.predictor="  # by the run itself
        extra = ("--config.train.checkpoint_every=2", *extra)
        workdir = others.pop("workdir", self.folder / name)
        return start(self.config, workdir, measured, *extra, program=PLAIN, **variables, **others)

    def start_two(self, name):
        """Two processes that share a run."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            coordinator = f"--coordinator=127.0.0.1:{free.getsockname()[1]}"
        flags = (coordinator, "--num_processes=2", "--heartbeat_seconds=10")
        return [self.start(name, *flags, f"--process_id={number}") for number in range(2)]

    def log(self, name):
        """What was done, as (process, what)."""
        lines = (self.folder / f"{name}.log").read_text().splitlines()
        return [tuple(line.split(" ", maxsplit=1)) for line in lines]


def finish(process):
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return output


def rows(workdir):
    history = workdir / "history.jsonl"
    lines = history.read_text().split("\n")[:-1] if history.exists() else []
    found = [json.loads(line) for line in lines]
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in found]


def wait_for(process, workdir, phase, step):
    """Returns once a step of a phase has been logged."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if any(row["phase"] == phase and row["step"] >= step for row in rows(workdir)):
            return
        time.sleep(0.01)
    output, _ = process.communicate()
    raise AssertionError(f"the run was over before step {step} of {phase}: {output}")


def variables(workdir, phase, arch_file):
    network = declare_spec(ArchSpec.load(workdir / arch_file))
    like = zero_variables(SegmentationNetwork(network))
    return load_newest(Workdir(workdir).checkpoints(f"{phase}_variables"), like)


def compare(found, expected, equal):
    for phase, arch_file in (("finetune", "searched.json"), ("uniform", "uniform.json")):
        jax.tree.map(equal, variables(found, phase, arch_file), variables(expected, phase, arch_file))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, predictor_path):
    """A place with an undisturbed run, `alone`."""
    place = Place(tmp_path_factory.mktemp("runs"), predictor_path)
    place.alone_said = finish(place.start("alone"))
    return place


def test_killed_and_told_to_end_it_ends_with_the_same_bits(runs):
    alone, killed = runs.folder / "alone", runs.folder / "killed"
    for phase, step, number, status in (
        ("pretrain", 3, signal.SIGKILL, -signal.SIGKILL),
        ("search", 1, signal.SIGTERM, RESTART),
    ):
        process = runs.start("killed")
        wait_for(process, killed, phase, step)
        process.send_signal(number)
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == status, output
        if number == signal.SIGTERM:
            assert "of search: everything is saved, the same command goes on from here" in output
    output = finish(runs.start("killed"))
    assert "pretrain: finished before, skipped" in output
    compare(killed, alone, np.testing.assert_array_equal)
    assert rows(killed) == rows(alone)
    assert (killed / "worth.json").read_bytes() == (alone / "worth.json").read_bytes()
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in alone.iterdir())
    left = [path for path in killed.rglob("*") if "tmp" in path.name]
    assert left == []


def test_two_processes_do_everything_once_and_agree_with_one(runs):
    alone, shared = runs.folder / "alone", runs.folder / "shared"
    first, second = runs.start_two("shared")
    wait_for(first, shared, "pretrain", 3)
    second.kill()
    second.communicate()
    output, _ = first.communicate(timeout=SECONDS)  # it ends by itself
    assert first.returncode not in (0, 2)
    assert "another process of this run ended" in output or "another task died" in output, output
    pair = runs.start_two("shared")
    said = [finish(process) for process in pair]
    assert "search begins" in said[0]
    assert "begins" not in said[1]
    compare(shared, alone, lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6))
    for name in ("searched.json", "uniform.json"):
        assert ArchSpec.load(shared / name) == ArchSpec.load(alone / name)
    steps = [(row["phase"], row["step"], "losses" in row) for row in rows(shared)]
    assert len(steps) == len(set(steps))
    assert steps == [(row["phase"], row["step"], "losses" in row) for row in rows(alone)]
    assert {process for process, _ in runs.log("shared")} == {"0"}
    for what in ("sweep", "measurement", "export"):
        assert runs.log("shared").count(("0", what)) == 1
    assert sorted(path.name for path in shared.iterdir()) == sorted(path.name for path in alone.iterdir())


def test_a_workdir_in_a_bucket_holds_the_same_run(runs):
    alone, kept = runs.folder / "alone", runs.folder / "kept"
    output = finish(runs.start("bucket", workdir="gs://bucket/run", PLAIN_BUCKET=str(kept)))
    assert "export begins" in output
    compare(kept / "run", alone, np.testing.assert_array_equal)
    assert rows(kept / "run") == rows(alone)
    names = [sorted(str(path.relative_to(root)) for path in visible(root)) for root in (kept / "run", alone)]
    assert names[0] == names[1]
    assert not list(runs.folder.glob("gs:*"))
    assert not (ROOT / "gs:").exists()


def visible(root):
    """Files of a workdir, of checkpoints the folders only: what Orbax writes into them differs on a disk."""
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if (path.is_file() and parts[0] != "checkpoints") or (parts[0] == "checkpoints" and len(parts) == 3):
            yield path
