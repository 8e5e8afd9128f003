"""What keeps a run from being lost: locks, full and closed disks, signals, other processes."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from fake_bucket import fake_bucket

from rtseg_jax.errors import UserError
from rtseg_jax.files import append_line, place, remove_remains, whole_lines, write_json
from rtseg_jax.training import lock
from rtseg_jax.training.checkpoints import Checkpoints, load_newest, save_tree
from rtseg_jax.training.failures import LostOthers, in_one_line
from rtseg_jax.training.lock import locked
from rtseg_jax.training.peers import Peers
from rtseg_jax.training.preemption import Notice, Preempted
from rtseg_jax.training.watchdog import Watchdog
from rtseg_jax.training.workdir import Workdir


@pytest.fixture
def bucket(monkeypatch):
    with fake_bucket(monkeypatch) as objects:
        yield objects


def test_one_run_at_a_time_and_a_wrong_start_leaves_nothing(tmp_path):
    root = tmp_path / "run"
    with locked(root):
        message = rf"run: another run is working there \(process {os.getpid()} on"
        with pytest.raises(UserError, match=message), locked(root):
            pass
        assert root.exists()
    assert not root.exists()
    with locked(root):
        (root / "config.json").write_text("{}")
    assert [path.name for path in root.iterdir()] == ["config.json"]


def test_a_killed_run_leaves_no_lock(tmp_path):
    code = "import sys, time\nfrom rtseg_jax.training.lock import locked\nfrom pathlib import Path\n"
    code += "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"process {holder.pid} on"), locked(tmp_path):
            pass
        holder.kill()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):
        pass


def test_in_a_bucket_the_lock_is_a_lease(bucket, monkeypatch):
    monkeypatch.setattr(lock, "LEASE", 1.0)
    root = place("gs://bucket/run")
    with locked(root), pytest.raises(UserError, match="gs://bucket/run: another run is working there"), locked(root):
        pass
    assert not bucket
    (root / ".lock").write_text(json.dumps({"owner": "a process that was killed", "lease": "x", "renewed": 3}))
    with locked(root):
        assert json.loads((root / ".lock").read_text())["owner"] == f"process {os.getpid()} on {os.uname().nodename}"
    assert not bucket


def test_a_workdir_that_cannot_be_written_is_named_in_one_line(tmp_path, monkeypatch):
    def closed(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(lock.os, "open", closed)
    message = r"cannot be written \(Read-only file system\); name another --workdir"
    with pytest.raises(UserError, match=message), locked(tmp_path):
        pass


def test_a_full_disk_is_said_in_one_line_and_other_errors_stay_what_they_are(tmp_path):
    message = r"cannot be written \(No space left on device\).*last checkpoint$"
    with pytest.raises(UserError, match=message), in_one_line(tmp_path):
        Path("/dev/full").write_text("a line\n")
    with pytest.raises(PermissionError), in_one_line(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/pictures.zip")


def test_lost_processes_are_said_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(jax.errors.JaxRuntimeError), in_one_line(tmp_path):
        raise jax.errors.JaxRuntimeError("out of memory")
    checkpoints = Checkpoints(tmp_path / "phase")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    message = r"^process 0 of 2: another process .* \(Connection closed by peer\); start all"
    with pytest.raises(LostOthers, match=message), in_one_line(tmp_path):
        raise jax.errors.JaxRuntimeError("Connection closed by peer\nand much more")
    with pytest.raises(LostOthers, match=r"\(UNKNOWN: Gloo AllGather failed"), in_one_line(tmp_path):
        raise ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")
    with pytest.raises(ValueError, match="another"), in_one_line(tmp_path):
        raise ValueError("another error")
    monkeypatch.setattr(checkpoints._manager, "save", raise_timeout)
    with pytest.raises(LostOthers, match=r"\(waiting for a barrier\)"), in_one_line(tmp_path):
        checkpoints.save(1, noise(1))
    monkeypatch.undo()
    checkpoints.close()


def raise_timeout(*_, **__):
    raise TimeoutError("waiting for a barrier")


def noise(step):
    return {"kernel": np.random.default_rng(step).normal(size=(512, 512)).astype(np.float32)}


def save_and_close(checkpoints):
    checkpoints.save(2, noise(2))
    checkpoints.close()


def test_a_disk_that_fills_up_keeps_the_checkpoints_before(tmp_path):
    checkpoints = Checkpoints(tmp_path / "phase")
    checkpoints.save(1, noise(1))
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path / "phase")
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most[1]))  # as if there were no more room
    try:
        with pytest.raises(UserError, match=r"phase: a checkpoint could not be written \(.*\); make room .* is whole$"):
            save_and_close(checkpoints)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    checkpoints = Checkpoints(tmp_path / "phase")
    step, found = checkpoints.resume(noise(0))
    checkpoints.close()
    assert step == 1
    np.testing.assert_array_equal(found["kernel"], noise(1)["kernel"])
    assert sorted(path.name for path in (tmp_path / "phase").iterdir() if path.is_dir()) == ["1"]


def test_a_tree_takes_the_place_of_an_earlier_one(tmp_path):
    save_tree(tmp_path / "best_variables", noise(1))
    save_tree(tmp_path / "best_variables", noise(2))
    np.testing.assert_array_equal(load_newest(tmp_path / "best_variables", noise(0))["kernel"], noise(2)["kernel"])
    assert len([path for path in (tmp_path / "best_variables").iterdir() if path.is_dir()]) == 1


def test_in_a_bucket_too_a_tree_takes_the_place_of_an_earlier_one(bucket):
    folder = Workdir("gs://bucket/run").checkpoints("best_variables")
    save_tree(folder, noise(1))
    save_tree(folder, noise(2))
    np.testing.assert_array_equal(load_newest(folder, noise(0))["kernel"], noise(2)["kernel"])


def test_a_bucket_holds_checkpoints_and_files(bucket):
    workdir = Workdir("gs://bucket/run")
    assert str(workdir.root) == "gs://bucket/run"
    write_json(workdir.root / "results.json", {"phases": {"pretrain": {"miou": 0.5}}})
    workdir.append_history({"phase": "pretrain", "step": 1})
    workdir.append_history({"phase": "pretrain", "step": 2, "losses": {}})
    workdir.forget_history("pretrain", 1, 9)
    checkpoints = Checkpoints(workdir.checkpoints("pretrain"), 1)
    for step in (1, 2):
        checkpoints.save(step, noise(step), {"input": {"next_batch": 10 * step}})
    checkpoints.close()
    checkpoints = Checkpoints(workdir.checkpoints("pretrain"))
    step, found = checkpoints.resume(noise(0))
    assert (step, checkpoints.next_batch(step)) == (2, 20)
    checkpoints.close()
    np.testing.assert_array_equal(found["kernel"], noise(2)["kernel"])
    assert workdir.finished("pretrain")
    assert bucket["/bucket/run/history.jsonl"].getvalue() == b'{"phase": "pretrain", "step": 1}\n'
    assert not any("/checkpoints/pretrain/1/" in name for name in bucket)


def test_an_unknown_place_is_named():
    with pytest.raises(UserError, match=r"nowhere://x: there are no places that begin with nowhere://; use gs://"):
        Workdir("nowhere://x")


def test_writers_of_one_file_do_not_meet(tmp_path):
    failed = []

    def write(number):
        try:
            for _ in range(100):
                write_json(tmp_path / "results.json", {"number": number})
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_remains_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "report").mkdir()
    for name in ("results.json", ".results.json.0123456789ab.tmp", "report/.losses.png.0123456789ab.tmp", ".lock"):
        (tmp_path / name).write_text("x")
    remove_remains(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        ".lock",
        "report",
        "results.json",
    ]


def test_a_row_that_was_cut_off_and_a_score_that_is_taken_again_are_dropped(tmp_path):
    workdir = Workdir(tmp_path)
    for row in (
        {"step": 1, "losses": {}},
        {"step": 1, "miou": 0.1},
        {"step": 2, "losses": {}},
        {"step": 2, "miou": 0.2},
    ):
        workdir.append_history({"phase": "pretrain", **row})
    with workdir.history.open("a") as file:
        file.write('{"phase": "pre')
    workdir.forget_history("pretrain", 2, 2)
    rows = [json.loads(line) for line in whole_lines(workdir.history)]
    assert [(row["step"], "miou" in row) for row in rows] == [(1, False), (1, True), (2, False)]
    append_line(workdir.history, json.dumps({"phase": "search", "step": 1, "losses": {}}))
    workdir.forget_history("pretrain", 1, 2)
    rows = [json.loads(line) for line in whole_lines(workdir.history)]
    assert [(row["phase"], row["step"], "miou" in row) for row in rows] == [
        ("pretrain", 1, False),
        ("pretrain", 1, True),
        ("search", 1, False),
    ]


def test_sigterm_between_steps_waits_for_the_step_and_elsewhere_ends_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with Notice() as notice:
        notice.steps_begin()
        assert not notice.reached(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert notice.reached(2)
        notice.steps_end()
    with Notice(), pytest.raises(Preempted) as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.code == 75
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_run_that_hangs_ends_and_one_that_goes_on_does_not(monkeypatch):
    ended, said = threading.Event(), []

    def end(line):
        said.append(line)
        ended.set()

    Watchdog(0.001 / 60, "search", end).close()  # one process
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    steady = Watchdog(10.0, "search", end)
    for _ in range(5):
        steady.step_finished()
    steady.close()
    assert said == []
    hanging = Watchdog(0.001 / 60, "search", end)
    assert ended.wait(60)
    hanging.close()
    (line,) = said
    assert line.startswith("search: no step was finished for")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Peers()),
        ({"SLURM_NTASKS": "1"}, Peers()),
        ({"SLURM_NTASKS": "4"}, Peers(named=True)),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, Peers(named=True)),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, Peers(named=True)),
        ({"TPU_WORKER_HOSTNAMES": "a"}, Peers()),
        ({"JOB_COMPLETION_INDEX": "0"}, Peers(named=True)),
        (
            {"JAX_COORDINATOR_ADDRESS": "host0:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
            Peers("host0:1", 2, 0, named=True),
        ),
    ],
)
def test_processes_by_the_environment(variables, expected):
    assert Peers.of_environment(variables) == expected


def test_flags_name_processes_before_the_environment_does():
    peers = Peers("host0:1", 2, 1, named=True)
    assert peers.replaced("host9:9", None, 0) == Peers("host9:9", 2, 0, named=True)
    assert Peers().replaced(None, None, None) == Peers()
    assert Peers().replaced(None, 2, None) == Peers(None, 2, None, named=True)
    with pytest.raises(UserError, match="the variable SLURM_NTASKS is 'many'"):
        Peers.of_environment({"SLURM_NTASKS": "many"})
