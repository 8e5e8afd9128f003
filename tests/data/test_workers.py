"""Worker processes: the same batches, errors that arrive, and nothing left behind."""

import dataclasses
import gc
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from batches import assert_same, take

from rtseg_jax.data import DataSpec, training_batches
from rtseg_jax.data.caching import CachedSource, PreparedSource
from rtseg_jax.errors import UserError

SPEC = DataSpec("camvid", train_size=(9, 14), base_size=(11, 15), brightness=0.3)


class Pictures:
    """Six pictures of noise; number `bad` cannot be read, number `deadly` ends the process."""

    def __init__(self, bad=None, deadly=None):
        self.bad, self.deadly = bad, deadly

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == self.bad:
            raise UserError(f"picture {index} is damaged; replace the file")
        if index == self.deadly:
            os._exit(3)
        image = np.random.default_rng(index).integers(0, 256, (13, 17, 3), dtype=np.uint8)
        return {"image": image, "label": image[..., 0] % 11}


def workers():
    return [process for process in multiprocessing.active_children() if process.name.startswith("grain")]


@pytest.fixture
def nothing_left():
    yield
    gc.collect()
    assert not workers()


@pytest.mark.usefixtures("nothing_left")
def test_workers_give_the_batches_of_one_process_from_any_step_and_end_with_their_iterator():
    spec = dataclasses.replace(SPEC, augment_on="device")
    whole = take(training_batches(Pictures(), spec, 4, seed=1, shard_index=1, shard_count=2, num_threads=0), 8)
    source = CachedSource(PreparedSource(Pictures(), spec))
    batches = training_batches(
        source, spec, 4, seed=1, start_step=3, shard_index=1, shard_count=2, num_threads=3, num_workers=2
    )
    assert_same(whole[3:], take(batches, 5))
    assert len(workers()) == 2
    # Dropped with the frame of this test; the fixture looks.


def until_error(batches):
    read = []
    with pytest.raises(UserError) as caught:  # noqa: PT012
        for batch in batches:
            read.append(batch)
    return read, str(caught.value)


@pytest.mark.usefixtures("nothing_left")
def test_an_error_in_a_worker_is_the_same_error_after_the_same_batches():
    (expected, error), (read, error_of_worker) = (
        until_error(training_batches(Pictures(bad=4), SPEC, 2, seed=0, num_threads=0, num_workers=count))
        for count in (0, 1)
    )
    assert expected
    assert_same(expected, read)
    assert error == error_of_worker == "picture 4 is damaged; replace the file"


@pytest.mark.usefixtures("nothing_left")
def test_a_worker_that_is_ended_is_an_error_of_one_line():
    batches = training_batches(Pictures(deadly=2), SPEC, 6, seed=0, num_workers=1)
    with pytest.raises(UserError) as caught:
        next(batches)
    assert re.fullmatch(r".*ended from outside \(exit code 3\).*num_workers.*", str(caught.value))


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "reads.py"
    script.write_text(
        "import multiprocessing, os, signal\n"
        "from rtseg_jax.data import DataSpec, training_batches\n"
        "from rtseg_jax.data.synthetic import StreetSource\n"
        "if __name__ == '__main__':\n"
        "    spec = DataSpec('camvid', train_size=(16, 16))\n"
        "    batches = training_batches(StreetSource(4, (16, 16), 0, 'train', 4), spec, 2, seed=0, num_workers=1)\n"
        "    next(batches)\n"
        "    print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, check=False)
    (worker,) = map(int, result.stdout.split())
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{worker}")


def test_sources_travel_without_what_they_keep():
    source = CachedSource(PreparedSource(Pictures(), SPEC))
    first = source[0]
    assert first["label"].shape == (11, 15)
    packed = pickle.dumps(source)
    assert len(packed) < 2000
    np.testing.assert_array_equal(pickle.loads(packed)[0]["image"], first["image"])
