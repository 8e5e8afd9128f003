"""NYU Depth V2: transposed HDF5 arrays, MATLAB files of both versions, frames counted from 1."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import scipy.io
from layouts import FIXTURES, names, needs_fixtures, split_of

from rtseg_jax.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 5, 3, 6), np.uint8)  # height, width, colour, frame, as MATLAB has them
RAW = RNG.integers(0, 7, (4, 5, 6)).astype(np.uint16)
MAPPING = np.array([[40, 1, 2, 2, 39, 40]], np.uint8)  # of the raw labels 1 to 6
LABELS40 = np.where(RAW == 0, 0, MAPPING[0][RAW.astype(int) - 1]).astype(np.uint8)


def hdf5(path, **variables):
    """As MATLAB 7.3 writes: axes in reverse."""
    with h5py.File(path, "w") as content:
        for name, value in variables.items():
            content[name] = value.T


@pytest.fixture
def root(tmp_path):
    hdf5(tmp_path / "nyu_depth_v2_labeled.mat", images=IMAGES, labels=RAW)
    indices = {"trainNdxs": np.array([[2], [3], [6], [1]], np.uint16), "testNdxs": np.array([[4], [5]], np.uint16)}
    scipy.io.savemat(tmp_path / "splits.mat", indices)
    scipy.io.savemat(tmp_path / "classMapping40.mat", {"mapClass": MAPPING})
    return tmp_path


def assert_frames(source, numbers):
    assert names(source) == [f"{number + 1:04d}" for number in numbers]
    for index, number in enumerate(numbers):
        np.testing.assert_array_equal(source[index]["image"], IMAGES[..., number])
        np.testing.assert_array_equal(source[index]["label"], LABELS40[..., number] - np.uint8(1))  # 0 wraps to 255


def test_raw_labels_and_their_mapping(root):
    train = split_of("nyuv2", root, "train")
    assert_frames(train, [1, 2, 5, 0])
    assert_frames(split_of("nyuv2", root, "test"), [3, 4])
    again = pickle.loads(pickle.dumps(train))
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda index: again[index]["image"], [0, 1, 2, 3] * 4))
    np.testing.assert_array_equal(np.stack(got[-4:]), np.moveaxis(IMAGES, -1, 0)[[1, 2, 5, 0]])


@pytest.mark.parametrize("save", [hdf5, lambda path, **variables: scipy.io.savemat(path, variables)])
def test_maps_of_40_classes(root, save):
    (root / "classMapping40.mat").unlink()
    save(root / "labels40.mat", labels40=LABELS40)
    assert_frames(split_of("nyuv2", root, "train"), [1, 2, 5, 0])


def test_there_is_no_validation_split(root):
    with pytest.raises(UserError, match="nyuv2 has no split 'validation' to train on or to score; it has train, test"):
        split_of("nyuv2", root, "validation")


def test_a_raw_label_that_is_not_mapped_is_named(root):
    (root / "classMapping40.mat").unlink()
    scipy.io.savemat(root / "classMapping40.mat", {"mapClass": MAPPING[:, :5]})
    source = split_of("nyuv2", root, "train")
    with pytest.raises(UserError, match=r"has the label 6 in frame 2, of which classMapping40\.mat says nothing"):
        source[0]


def test_what_is_missing_or_damaged_is_said(root):
    labeled = root / "nyu_depth_v2_labeled.mat"
    labeled.write_bytes(labeled.read_bytes()[:600])
    with pytest.raises(UserError, match=r"nyu_depth_v2_labeled\.mat cannot be read \(.*; download nyu_depth"):
        split_of("nyuv2", root, "train")
    (root / "classMapping40.mat").unlink()
    with pytest.raises(UserError, match=r"has neither classMapping40\.mat nor labels40\.mat, which give"):
        split_of("nyuv2", root, "train")
    (root / "splits.mat").unlink()
    with pytest.raises(UserError, match=r"splits\.mat is missing; data_dir must be"):
        split_of("nyuv2", root, "train")


def test_frames_that_do_not_exist(root):
    scipy.io.savemat(root / "splits.mat", {"trainNdxs": np.array([[7]]), "testNdxs": np.array([[0]])})
    for split, number in (("train", 7), ("test", 0)):
        with pytest.raises(UserError, match=rf"splits\.mat names frame {number}, but .* has 6"):
            split_of("nyuv2", root, split)


@needs_fixtures
def test_the_copy_with_depth_only_is_refused():
    with pytest.raises(UserError, match="holds the copy with depth only, which has no labels"):
        split_of("nyuv2", FIXTURES / "datumaro_assets/nyu_depth_v2_dataset", "train")
