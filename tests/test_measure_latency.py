"""The command that measures a device: what it refuses, and what it measures of a config."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rtseg_jax.measure_latency import COMMAND

CONFIG = """
from rtseg_jax.config import base_config

def get_config():
    config = base_config()
    config.data.name = "synthetic_streets"
    config.data.train_size = config.data.eval_size = config.data.base_size = (32, 64)
    config.network.width = 0.1
    config.network.segment_blocks = (0, 0, 0)
    config.latency.device, config.latency.num_blocks, config.latency.num_networks = "analytic", 7, 100
    return config
"""


def measure_latency(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rtseg_jax.measure_latency", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--image_size=a,b", "--output=x"], "--image_size is 'a,b': it must be HEIGHTxWIDTH"),
        (["--device=hostcpu", "--output=x"], "--device is 'hostcpu', which is unknown; did you mean 'host_cpu'?"),
        (["--device=pixel9", "--output=x"], "unknown; a phone that is connected is 'android'; there are host_cpu, "),
        (["--request=gone.json", "--output=x"], "--request=gone.json: not a file of JSON"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], words: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert COMMAND.execute(flags, "measure") == 2
    output, errors = capsys.readouterr()
    assert words in errors
    assert (output, errors.count("\n")) == ("", 1)
    assert not list(tmp_path.iterdir())


def test_a_config_is_measured_as_it_says_where_no_flag_does_and_a_report_is_written(tmp_path: Path):
    (tmp_path / "tiny.py").write_text(CONFIG)
    out = tmp_path / "sweep"
    changes = ["--config.latency.num_unseen=1", "--num_networks=3"]
    done = measure_latency(tmp_path, f"--config={tmp_path / 'tiny.py'}", *changes, f"--out={out}")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in (out / "measurements.jsonl").read_text().splitlines()]
    assert [row["block"] is None for row in rows] == [False] * 7 + [True] * 4
    assert all(row["arch"]["network"]["fields"]["width"] == 0.1 for row in rows)
    assert rows[0]["arch"]["network"]["fields"]["segment_blocks"] == [0, 0, 0]
    predictor = json.loads((out / "predictor.json").read_text())
    assert predictor["card"]["image_size"] == [32, 64]
    assert "unseen networks" in predictor["errors"]
    page = (out / "report" / "index.html").read_text()
    assert "modelled ms" in page
    assert done.stdout.splitlines()[-1] == str(out / "report" / "index.html")
