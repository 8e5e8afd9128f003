"""What a run makes of the cards of its exports; the program that writes them is replaced."""

import json
import subprocess
from pathlib import Path

import pytest

from rtseg_jax.errors import UserError
from rtseg_jax.export import child


class Program:
    """In the place of `subprocess.run`: writes a card, or none, and ends with a status."""

    def __init__(self, card: dict | None, status: int):
        self.card, self.status = card, status
        self.command: list[str] = []

    def __call__(self, command: list[str], **_) -> subprocess.CompletedProcess:
        self.command = command
        (output,) = (word.removeprefix("--output=") for word in command if word.startswith("--output="))
        if self.card is not None:
            Path(output).with_suffix(".json").write_text(json.dumps(self.card))
        return subprocess.CompletedProcess(command, self.status, "", "Traceback\nsomething broke")


CARD = {"miou": 0.4, "failures": ["mIoU fell by 2.00 points, more than the 1 allowed"]}


def test_what_integers_lose_is_told_by_their_card(tmp_path, monkeypatch):
    program = Program(CARD, status=1)
    monkeypatch.setattr(child.subprocess, "run", program)
    settings = {"precision": "int8", "network": "uniform"}
    assert child.convert_in_child(tmp_path, tmp_path / "m.tflite", **settings) == CARD
    assert {"--quantize=int8", "--network=uniform"} < set(program.command)
    assert not [word for word in program.command if word.startswith("--pictures")]  # all of them


def test_a_file_of_floats_that_differs_is_an_error(tmp_path, monkeypatch):
    program = Program(CARD, status=1)
    monkeypatch.setattr(child.subprocess, "run", program)
    with pytest.raises(UserError, match="export failed with exit status 1"):
        child.convert_in_child(tmp_path, tmp_path / "m.tflite")
    assert {"--quantize=none", "--network=best", "--pictures=16"} < set(program.command)


def test_the_card_of_an_earlier_export_is_not_taken_for_one_that_failed(tmp_path, monkeypatch):
    (tmp_path / "m.json").write_text(json.dumps(CARD))
    monkeypatch.setattr(child.subprocess, "run", Program(None, status=1))
    with pytest.raises(UserError, match="something broke"):
        child.convert_in_child(tmp_path, tmp_path / "m.tflite", precision="int8")
