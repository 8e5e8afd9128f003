from pathlib import Path

import pytest

from rtseg_jax.errors import UserError
from rtseg_jax.files import append_line, read_rows, write_json, write_whole


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "results.json"
    write_json(path, {"µ": 1})

    def half(temporary: Path) -> None:
        temporary.write_text("{")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, half)
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    assert path.read_text(encoding="utf-8") == '{\n  "\\u00b5": 1\n}\n'


def test_the_file_appears_at_once(tmp_path: Path):
    seen: list[list[str]] = []
    path = tmp_path / "model.tflite"
    write_whole(
        path, lambda temporary: (temporary.write_bytes(b"x"), seen.append([p.name for p in tmp_path.iterdir()]))
    )
    assert "model.tflite" not in seen[0]
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite"]


def test_a_row_that_was_cut_off_does_not_spoil_the_next(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    path.write_text('{"a": 1}\n{"b": ')
    assert read_rows(path) == [{"a": 1}]
    append_line(path, "[3]")
    assert read_rows(path) == [{"a": 1}, [3]]
    path.write_text('{"a": \n[3]\n')
    with pytest.raises(UserError, match=r"rows\.jsonl:1: cannot be read .*; remove the line"):
        read_rows(path)
