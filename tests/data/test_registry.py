"""Names, classes and palettes; what can be built and what cannot yet."""

import numpy as np
import pytest

from rtseg_jax.data import (
    A2D2,
    ADE20K,
    BDD100K,
    CAMVID,
    CITYSCAPES,
    KITTI,
    NYUV2,
    VOC2012,
    DatasetInfo,
    DataSpec,
    Source,
    build_dataset,
    dataset_info,
)
from rtseg_jax.data.class_file import voc_colour
from rtseg_jax.data.registry import KNOWN
from rtseg_jax.errors import UserError


@pytest.mark.parametrize(
    ("info", "count", "colours"),
    [
        (CAMVID, 11, 11),
        (CITYSCAPES, 19, 19),
        (KITTI, 19, 19),
        (BDD100K, 19, 19),
        (VOC2012, 21, 21),
        (ADE20K, 150, 149),  # road and skyscraper are published with one colour
        (A2D2, 38, 38),
        (NYUV2, 40, 40),
    ],
)
def test_number_of_classes(info, count, colours):
    assert info.num_classes == len(info.palette) == len(set(info.class_names)) == count
    assert len(set(info.palette)) == colours


def test_known_classes_and_colours():
    assert CAMVID.class_names[3] == "Road"
    assert CITYSCAPES.class_names[13] == "car"
    assert CITYSCAPES.palette[13] == (0, 0, 142)
    assert VOC2012.palette[15] == (192, 128, 128)  # person
    assert VOC2012.class_names[11] == "diningtable"
    assert ADE20K.class_names[8] == "windowpane"
    assert ADE20K.class_names[12] == "person"
    assert ADE20K.class_names[149] == "flag"


def test_voc_colours_interleave_the_bits_of_the_index():
    assert [voc_colour(i) for i in (0, 1, 2, 4, 8, 9)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (0, 0, 128), (64, 0, 0), (192, 0, 0),
    ]  # fmt: skip


def test_names_and_colours_must_match():
    with pytest.raises(ValueError, match="2 names but 1 colours"):
        DatasetInfo("x", ("a", "b"), ((0, 0, 0),))


@pytest.mark.parametrize(("name", "nearest"), [("cityscape", "cityscapes"), ("CamVid", "camvid"), ("?", "")])
def test_an_unknown_name_gets_the_nearest(name, nearest):
    with pytest.raises(UserError, match=f"unknown data set .* did you mean '{nearest}"):
        build_dataset(DataSpec(name))


@pytest.mark.parametrize(
    "name", [name for name, row in KNOWN.items() if row.read is None and name != "synthetic_streets"]
)
def test_data_sets_without_a_builder_say_so(name):
    with pytest.raises(UserError, match=f"the builder for {name} is not part of this version; set stand_in=True"):
        build_dataset(DataSpec(name, data_dir="."))


@pytest.mark.parametrize("name", KNOWN)
def test_every_data_set_has_a_stand_in(name):
    dataset = build_dataset(DataSpec(name, eval_size=(24, 40), stand_in=True, num_train=3, num_validation=2))
    assert dataset.info == dataset_info(DataSpec(name, stand_in=True))
    assert isinstance(dataset.train, Source)
    assert (len(dataset.train), len(dataset.validation)) == (3, 2)
    label = dataset.train[0]["label"]
    assert label.shape == (24, 40)
    assert np.unique(label[label != 255]).max() < dataset.info.num_classes
