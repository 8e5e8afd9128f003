"""Classes picked, merged and left; ids given another meaning."""

import pytest

from rtseg_jax.data import CAMVID, DataSpec, dataset_info
from rtseg_jax.data.class_choice import change_ids, choose_classes, classes_of_ids
from rtseg_jax.data.class_file import parse_classes, to_json
from rtseg_jax.errors import UserError


def test_nothing_picked_is_everything():
    assert choose_classes(CAMVID, (), "ignore") is CAMVID
    assert dataset_info(DataSpec("camvid")) == CAMVID


def test_the_rest_is_ignored_or_other():
    few = choose_classes(CAMVID, ("Road", "moving=Car+Pedestrian"), "ignore")
    assert few.labels.ids == {
        0: 255, 1: 255, 2: 255, 3: 0, 4: 255, 5: 255, 6: 255, 7: 255, 8: 1, 9: 1, 10: 255, 11: 255, 255: 255,
    }  # fmt: skip
    assert few.labels.colours[192, 128, 64] == 1  # Child
    other = choose_classes(CAMVID, ("Road", "moving=Car+Pedestrian"), "other")
    assert other.class_names == ("Road", "moving", "other")
    assert [other.labels.ids[raw] for raw in (0, 3, 8, 10, 11)] == [2, 0, 1, 2, 255]
    everything = choose_classes(CAMVID, CAMVID.class_names, "other")
    assert everything.class_names == CAMVID.class_names


@pytest.mark.parametrize(
    ("classes", "rest", "says"),
    [
        (("Rode",), "ignore", "camvid has no class 'Rode'; the nearest is 'Road'"),
        (("a=Road+Car", "Car"), "ignore", "uses 'Car' twice"),
        (("a=Road", "a=Car"), "ignore", "gives two classes one name"),
        (("Road",), "drop", "config.data.rest is 'drop'"),
    ],
)
def test_choices_that_cannot_be(classes, rest, says):
    with pytest.raises(UserError, match=says):
        choose_classes(CAMVID, classes, rest)


def test_ids_are_changed_one_by_one():
    changed = change_ids(CAMVID, "12=Road, 0=ignore, #010203=3")
    assert (changed.labels.ids[12], changed.labels.ids[0], changed.labels.colours[1, 2, 3]) == (3, 255, 3)
    assert changed.labels.ids[1] == 1
    for wrong in ("12", "12=", "x=Road", "-1=Road"):
        with pytest.raises(UserError, match="write ID=CLASS"):
            change_ids(CAMVID, wrong)
    with pytest.raises(UserError, match="'#0102' is no colour"):
        change_ids(CAMVID, "#0102=Road")


def test_ids_alone_name_the_classes():
    info = classes_of_ids("folder", "0=background,255=person,7=person,9=ignore")
    assert info.class_names == ("background", "person")
    assert info.labels.ids == {0: 0, 255: 1, 7: 1, 9: 255}
    with pytest.raises(UserError, match="names no class"):
        classes_of_ids("folder", "0=ignore")


@pytest.mark.parametrize("info", [CAMVID, choose_classes(CAMVID, ("Road", "x=Car+Tree"), "other")])
def test_a_recorded_table_reads_back_the_same(info):
    again = parse_classes(info.name, to_json(info), "x.json")
    assert (again.class_names, again.palette, again.labels) == (info.class_names, info.palette, info.labels)
