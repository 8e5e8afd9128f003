"""Checkpoints: newest first, and what happens when the newest is damaged."""

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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
    with pytest.raises(UserError, match="phase: no readable checkpoint; train again"):
        load_newest(tmp_path / "phase", tree(0))
    with pytest.raises(UserError, match="other: no weights there; the run that writes them is not finished"):
        load_newest(tmp_path / "other", tree(0))


def test_the_best_by_miou_and_the_last_ones_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path / "phase", 2)
    for step, miou in ((1, None), (2, 0.9), (3, None), (4, 0.5), (5, None), (6, None)):
        checkpoints.save(step, tree(step), miou=miou)
    checkpoints.close()
    assert Checkpoints(tmp_path / "phase", reading=True).steps() == [2, 5, 6]


def test_a_run_that_goes_on_knows_the_best_and_says_nothing_of_it(tmp_path, caplog):
    for step, miou in ((1, 0.5), (2, 0.9), (3, None), (4, 0.7), (5, None), (6, None)):
        checkpoints = Checkpoints(tmp_path / "phase", 2)
        checkpoints.save(step, tree(step), miou=miou)
        checkpoints.close()
    assert Checkpoints(tmp_path / "phase", reading=True).steps() == [2, 5, 6]
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


def test_the_position_of_the_input_is_in_the_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "phase")
    checkpoints.save(3, tree(3), {"input": {"seed": 5, "next_batch": 12}})
    checkpoints.close()
    reading = Checkpoints(tmp_path / "phase", reading=True)
    assert reading.about(3) == {"version": 2, "input": {"seed": 5, "next_batch": 12}}
    assert (reading.next_batch(3), reading.next_batch(0)) == (12, 0)


def save_first_format(folder, step, saved):
    with ocp.CheckpointManager(folder) as manager:
        manager.save(step, args=ocp.args.StandardSave(saved))


def test_a_checkpoint_of_the_first_format_is_read_where_it_fits_and_named_where_not(tmp_path):
    save_first_format(tmp_path / "phase", 4, tree(4))
    checkpoints = Checkpoints(tmp_path / "phase")
    step, found = checkpoints.resume(tree(0))
    assert (step, checkpoints.next_batch(step), int(found["step"])) == (4, 4, 4)
    with pytest.raises(UserError, match=r"checkpoint 4 was written by another version of rtseg_jax \(format 1, this"):
        checkpoints.resume({"other": jnp.zeros(3)})
    checkpoints.close()
    assert Checkpoints(tmp_path / "phase", reading=True).steps() == [4]


def test_training_goes_on_over_donated_buffers_while_a_checkpoint_is_written(tmp_path):
    step = jax.jit(lambda x: x + 1.0, donate_argnums=0)
    state = step(jnp.zeros((1000, 1000)))
    checkpoints = Checkpoints(tmp_path / "phase", 9)
    for number in range(1, 6):
        checkpoints.save(number, {"x": state})
        for _ in range(3):
            state = step(state)
    checkpoints.close()
    reading = Checkpoints(tmp_path / "phase", reading=True)
    for number in range(1, 6):
        checkpoint = reading._manager.restore(number, args=ocp.args.StandardRestore({"x": jnp.zeros((1000, 1000))}))
        np.testing.assert_array_equal(checkpoint["x"], 3.0 * number - 2.0)


def test_a_checkpoint_of_two_devices_is_read_on_one(tmp_path):
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",))
    values = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    checkpoints = Checkpoints(tmp_path / "phase")
    checkpoints.save(1, {"x": jax.device_put(values, NamedSharding(mesh, PartitionSpec("data")))})
    checkpoints.close()
    found = load_newest(tmp_path / "phase", {"x": jax.device_put(np.zeros((4, 3), np.float32), jax.devices()[1])})
    assert found["x"].devices() == {jax.devices()[1]}
    np.testing.assert_array_equal(found["x"], values)
