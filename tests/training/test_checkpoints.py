"""Checkpoints: newest first, and what happens when the newest is damaged."""

import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.errors import UserError
from rtseg_jax.training.checkpoints import Checkpoints, load_newest


def tree(value):
    return {"step": jnp.int32(value), "params": {"kernel": jnp.full((64, 64), value, jnp.float32)}}


def save(folder, *steps):
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, tree(step))
    checkpoints.close()


def damage(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:7])


def test_the_newest_is_restored_and_two_are_kept(tmp_path):
    save(tmp_path / "phase", 1, 2, 3)
    assert sorted(path.name for path in (tmp_path / "phase").iterdir() if path.is_dir()) == ["2", "3"]
    np.testing.assert_array_equal(load_newest(tmp_path / "phase", tree(0))["params"]["kernel"], 3.0)


def test_a_damaged_newest_gives_way_to_the_one_before_and_says_so(tmp_path, caplog):
    save(tmp_path / "phase", 1, 2)
    damage(tmp_path / "phase" / "2")
    checkpoints = Checkpoints(tmp_path / "phase")
    step, found = checkpoints.resume(tree(0))
    checkpoints.save(2, tree(7))  # the run goes on over the damaged one
    checkpoints.close()
    assert step == 1
    np.testing.assert_array_equal(found["params"]["kernel"], 1.0)
    assert "checkpoint 2 cannot be read" in caplog.text
    np.testing.assert_array_equal(load_newest(tmp_path / "phase", tree(0))["params"]["kernel"], 7.0)


def test_what_cannot_be_read_at_all_is_refused_and_stays(tmp_path):
    save(tmp_path / "phase", 1, 2)
    before = sorted(tmp_path.rglob("*"))
    checkpoints = Checkpoints(tmp_path / "phase")
    with pytest.raises(UserError, match=r"phase: none of its 2 checkpoints can be read"):
        checkpoints.resume({"of another version": jnp.zeros(3)})
    checkpoints.close()
    assert sorted(tmp_path.rglob("*")) == before


def test_reading_removes_nothing(tmp_path):
    save(tmp_path / "phase", 1, 2)
    damage(tmp_path / "phase" / "2")
    before = sorted(tmp_path.rglob("*"))
    load_newest(tmp_path / "phase", tree(0))
    with pytest.raises(UserError, match="no readable checkpoint"):
        load_newest(tmp_path / "phase", {"other": jnp.zeros(3)})
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_to_restore(tmp_path):
    checkpoints = Checkpoints(tmp_path / "phase")
    assert checkpoints.newest(tree(0)) is None
    checkpoints.close()
    with pytest.raises(UserError, match="run the phase 'phase' again"):
        load_newest(tmp_path / "phase", tree(0))
    with pytest.raises(UserError, match="run the phase 'other' first"):
        load_newest(tmp_path / "other", tree(0))
