"""The zoo's gate: what is run, what fails, and what stands in its table."""

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import zoo_gate
from rtseg_jax.architecture import network_classes
from rtseg_jax.config import base_config
from rtseg_jax.files import write_json

TAKEN = {
    "operators": {"CONV_2D": 3},
    "difference": 2e-6,
    "adapter": "a GPU",
    "accepted": True,
    "partitions": 1,
    "refused": [],
    "error": None,
    "gpu_difference": 3e-5,
}
REFUSED = {**TAKEN, "accepted": False, "gpu_difference": None, "refused": ["GATHER: rank", "PACK: rank", "GATHER: x"]}


def test_supernets_have_gates_of_their_own():
    assert set(zoo_gate.networks([])) == set(network_classes()) - {"rtseg"}
    assert zoo_gate.networks(["enet"]) == ["enet"]


def test_what_fails():
    assert zoo_gate.failures(TAKEN) == []
    assert zoo_gate.failures(REFUSED) == []  # a finding, no failure
    assert zoo_gate.failures({**TAKEN, "difference": 2e-4}) == ["difference: 2.0e-04"]
    assert zoo_gate.failures({**TAKEN, "gpu_difference": float("nan")}) == ["gpu_difference: nan"]
    # Twice what float32 itself is off by is rounding, more is not.
    assert zoo_gate.failures({**TAKEN, "difference": 1.9e-4, "rounding": 1e-4}) == []
    assert zoo_gate.failures({**TAKEN, "difference": 2.1e-4, "rounding": 1e-4}) == ["difference: 2.1e-04"]
    (vain,) = zoo_gate.failures({**TAKEN, "difference": 0.3, "rounding": 0.3})
    assert vain == "float32 itself is off by 3.0e-01: nothing is proved"
    # Zeros are explained by a kernel that is too large, and by nothing else.
    zeros = {name: value for name, value in TAKEN.items() if name != "gpu_difference"}
    assert zoo_gate.failures({**zeros, "zeros_with_kernel_mib": 72.0}) == []
    assert zoo_gate.failures({**zeros, "zeros_with_kernel_mib": 9.0}) == ["zeros on the GPU"]
    assert zoo_gate.failures({"failed": "killed"}) == ["killed"]
    assert zoo_gate.failures({"losses": [2.0, 1.0, 1.5]}) == []
    assert zoo_gate.failures({"losses": [2.0, 1.0]}) == ["losses of 3 steps do not fall: [2.0, 1.0]"]
    assert zoo_gate.failures({"losses": [2.0, 9.0, 2.1]}) == ["losses of 3 steps do not fall: [2.0, 9.0, 2.1]"]
    (broken,) = zoo_gate.failures({"losses": [2.0, float("nan"), 1.0]})
    assert broken == "losses of 3 steps do not fall: [2.0, nan, 1.0]"


def test_table(tmp_path):
    write_json(zoo_gate.finding_path(tmp_path, "file", "a"), TAKEN)
    write_json(zoo_gate.finding_path(tmp_path, "training", "a"), {"losses": [2.5, 2.0, 1.25]})
    write_json(zoo_gate.finding_path(tmp_path, "file", "b"), REFUSED)
    write_json(zoo_gate.finding_path(tmp_path, "training", "b"), {"failed": "killed"})
    write_json(zoo_gate.finding_path(tmp_path, "file", "d"), {**TAKEN, "difference": 1.6e-4, "rounding": 1.4e-4})
    assert zoo_gate.table(["a", "b", "c", "d"], tmp_path).splitlines()[2:] == [
        "| a | 2.500, 1.250 | 2e-06 | all, 3e-05 |",
        "| b | **failed** | 2e-06 | refused: GATHER, PACK |",
        "| c | not run | not run | not run |",
        "| d | not run | 2e-04 (float32 is 1e-04 from float64) | all, 3e-05 |",
    ]


def test_only_what_is_missing_is_run(tmp_path, monkeypatch):
    started = []

    def run(command, **_):
        (check, name) = (command[-1].split("=")[1], command[-2].split("=")[1])
        started.append((check, name))
        if name == "b":
            return subprocess.CompletedProcess(command, -9, "", "out of memory")
        write_json(zoo_gate.finding_path(tmp_path, check, name), TAKEN)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    write_json(zoo_gate.finding_path(tmp_path, "file", "a"), TAKEN)
    zoo_gate.run_missing(["a", "b"], ["file", "training"], tmp_path)
    assert started == [("file", "b"), ("training", "a"), ("training", "b")]
    assert zoo_gate.failures(zoo_gate.read(tmp_path, "file", "b")) == ["status -9: out of memory"]


def test_training_takes_as_many_steps_as_are_expected(monkeypatch):
    """Its fields exist; losses are read from the history."""

    def run(command, **_):
        fields = dict(part.removeprefix("--config.").split("=", 1) for part in command if part.startswith("--config."))
        assert fields.pop("model") == "enet"
        config = base_config()
        for name in fields:
            assert name in config if "." not in name else name.split(".")[1] in config[name.split(".")[0]]
        workdir = Path(next(part for part in command if part.startswith("--workdir=")).removeprefix("--workdir="))
        rows = [{"phase": "train", "step": n, "losses": {"total": 3.0 - n}} for n in (1, 2)] + [{"miou": 0.1}]
        (workdir / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        write_json(workdir / "results.json", {"phases": {"train": {"miou": 0.1}}})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert zoo_gate.check_training(network_classes()["enet"](19)) == {"losses": [2.0, 1.0], "miou": 0.1}
    steps = sum(value for name, value in zoo_gate.TRAINING.items() if name.endswith("_steps"))
    assert steps == zoo_gate.STEPS
    failed = subprocess.CompletedProcess([], 2, "", "error: no such field")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    assert zoo_gate.check_training(network_classes()["enet"](19)) == {"failed": "error: no such field"}


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        ({**TAKEN, "untested": "no adapter"}, "not run"),
        ({**TAKEN, "zeros_with_kernel_mib": 72.0}, "takes all, gives zeros: a kernel of 72 MiB"),
        (
            {**TAKEN, "accepted": False, "error": "the process ended: so", "gpu_difference": None},
            "refused, crashed: the process ended",
        ),
    ],
)
def test_other_verdicts(finding, text):
    assert zoo_gate.gpu_text(finding) == text
