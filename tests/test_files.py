from pathlib import Path

import pytest

from rtseg_jax.files import write_json, write_whole


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
