"""Synthetic streets: exact labels, one picture per (seed, split, index)."""

import numpy as np
import pytest

from rtseg_jax.data import DataSpec, build_dataset
from rtseg_jax.data.street_canvas import BUILDING, CAR, FAR, NEAR, PAVEMENT, POLE, ROAD, SKY, TREE, Camera, Canvas
from rtseg_jax.data.street_objects import draw_person, rectangle
from rtseg_jax.data.street_scene import draw_street
from rtseg_jax.data.synthetic import StreetSource
from rtseg_jax.errors import UserError


def canvas(**camera):
    # Ten pixels for one metre at ten metres; the horizon in row 20.
    return Canvas(Camera((41, 61), focal=100.0, centre=(30.0, 20.0), height=1.0, **camera))


def source(count=8, size=(64, 128), seed=0, split="train", num_classes=11):
    return StreetSource(count, size, seed, split, num_classes)


def test_a_rectangle_lands_on_the_pixels_that_the_camera_says():
    drawn = canvas()
    drawn.face(rectangle(0.5, 0.0, 10.0, 1.0, 2.0), (200, 100, 50), CAR)
    drawn.render()
    expected = np.full((41, 61), SKY, np.uint8)
    expected[10:31, 30:41] = CAR  # x 0 to 1 m: columns 30 to 40; y 0 to 2 m seen from 1 m: rows 10 to 30
    np.testing.assert_array_equal(drawn.label, expected)
    np.testing.assert_array_equal((drawn.image == (200, 100, 50)).all(-1), expected == CAR)
    np.testing.assert_array_equal(drawn.distance, np.where(expected == CAR, np.float32(10), canvas().distance))


def test_the_camera_projects_bends_and_rolls():
    point = np.array([[2.0, 0.0, 20.0]])
    np.testing.assert_allclose(canvas().camera.project(point), [[40, 25]])
    np.testing.assert_allclose(canvas(bend=0.01).camera.project(point), [[60, 25]])
    np.testing.assert_allclose(canvas(roll=np.pi / 2).camera.project(point), [[25, 30]], atol=1e-9)
    np.testing.assert_allclose(canvas().camera.project(np.array([[1.0, 1.0, -5.0]])), [[30 + 100 / NEAR, 20]])


def test_ground_distance_is_the_inverse_of_projection():
    camera = canvas().camera
    rows = camera.project(np.array([[0.0, 0.0, 5.0], [0.0, 0.0, 10.0]]))[:, 1].astype(int)
    np.testing.assert_allclose(camera.ground_distance()[rows], [5, 10])
    assert (camera.ground_distance()[:21] == FAR).all()


def test_later_shapes_hide_earlier_ones_and_details_keep_the_label():
    drawn = canvas()
    drawn.face(rectangle(0.0, 0.0, 10.0, 4.0, 2.0), (10, 10, 10), BUILDING)
    drawn.face(rectangle(0.0, 0.0, 5.0, 0.2, 1.0), (20, 20, 20), POLE)
    drawn.details(rectangle(1.0, 0.5, 10.0, 0.4, 0.4)[None], (30, 30, 30))
    drawn.render()
    assert drawn.label[25, 30] == POLE
    assert drawn.label[23, 40] == BUILDING
    np.testing.assert_array_equal(drawn.image[23, 40], [30, 30, 30])
    assert (drawn.distance[25, 30], drawn.distance[23, 40]) == (5.0, 10.0)


def test_a_shadow_darkens_without_a_label():
    drawn = canvas()
    drawn.face(rectangle(0.0, 0.0, 10.0, 8.0, 2.0), (100, 100, 100), BUILDING)
    drawn.shade(rectangle(-3.0, 0.0, 10.0, 2.0, 3.0), 0.5)  # columns -10 to 10, cut at the edge
    drawn.render()
    np.testing.assert_array_equal(drawn.image[20, [0, 10, 11]], [[50] * 3, [50] * 3, [100] * 3])
    assert (drawn.label[20] == BUILDING).all()


def test_lines_are_as_wide_as_said():
    drawn = canvas()
    drawn.stroke(np.array([[0.0, 0.0, 10.0], [0.0, 2.0, 10.0]]), 0.3, (9, 9, 9), POLE)
    drawn.render()
    np.testing.assert_array_equal(np.flatnonzero(drawn.label[20] == POLE), [29, 30, 31])


def test_what_is_out_of_view_changes_nothing():
    drawn = canvas()
    drawn.face(rectangle(50.0, 0.0, 10.0, 1.0, 2.0), (1, 1, 1), CAR)
    drawn.shade(rectangle(-50.0, 0.0, 10.0, 1.0, 2.0), 0.5)
    drawn.render()
    assert (drawn.label == SKY).all()
    assert (drawn.image == 0).all()


def test_same_index_same_bits_and_others_differ():
    first = source()[3]
    np.testing.assert_array_equal(first["image"], source()[3]["image"])
    np.testing.assert_array_equal(first["label"], source()[3]["label"])
    for other in (source()[4], source(seed=1)[3], source(split="validation")[3]):
        assert (first["label"] != other["label"]).any()


def test_order_of_reading_does_not_matter():
    streets = source()
    forward = [streets[i]["image"] for i in range(3)]
    backward = [streets[i]["image"] for i in (2, 1, 0)][::-1]
    np.testing.assert_array_equal(forward, backward)


@pytest.mark.parametrize("size", [(31, 45), (90, 61), (128, 256)])
def test_any_size(size):
    example = source(size=size)[0]
    assert example["image"].shape == (*size, 3)
    assert example["label"].shape == size
    assert example["image"].dtype == example["label"].dtype == np.uint8


def test_a_street_is_the_same_scene_at_every_size():
    small, large = (draw_street(size, np.random.default_rng(5)).label for size in ((64, 128), (128, 256)))
    assert np.mean(small == large[::2, ::2]) > 0.9


def test_every_class_appears_and_the_street_is_where_streets_are():
    labels = np.stack([source(24)[i]["label"] for i in range(24)])
    assert set(np.unique(labels)) == {*range(11), 255}
    shares = np.bincount(labels.ravel(), minlength=256) / labels.size
    assert shares[[ROAD, BUILDING]].min() > 0.12
    assert shares[[PAVEMENT, TREE, SKY, CAR]].min() > 0.02
    assert np.mean(labels[:, :5] == ROAD) < 0.01
    assert np.mean(labels[:, 44:52, 48:80] == ROAD) > 0.4
    assert np.mean(labels[:, -20:] == SKY) == 0


@pytest.mark.parametrize("size", [(60, 80), (90, 61)])
def test_the_ground_reaches_the_lower_edge(size):
    streets = source(8, size)
    assert all((streets[i]["label"][-1] != SKY).all() for i in range(8))


def test_the_camera_leaves_labels_alone_and_spoils_colours():
    rng = np.random.default_rng([0, 0, 2])
    np.testing.assert_array_equal(source()[2]["label"], draw_street((64, 128), rng).label)
    example = source()[2]
    road = example["image"][example["label"] == ROAD].astype(float)
    assert road.std(axis=0).min() > 3


def test_a_person_is_labelled_from_head_to_foot():
    drawn = canvas()
    draw_person(drawn, np.random.default_rng(0), 0.0, 10.0)
    drawn.render()
    rows = np.flatnonzero((drawn.label != SKY).any(axis=1))
    assert 29 <= rows.max() <= 31  # feet on the ground, 10 rows below the horizon
    assert 11 <= rows.min() <= 16  # 1.5 to 1.9 m tall
    painted = (drawn.image != 0).any(axis=-1)
    np.testing.assert_array_equal(painted, drawn.label != SKY)


def test_fewer_classes_wrap_around():
    whole, wrapped = source()[1]["label"], source(num_classes=4)[1]["label"]
    np.testing.assert_array_equal(wrapped, np.where(whole == 255, 255, whole % 4))


def test_spec_decides_sizes_counts_and_classes():
    spec = DataSpec("synthetic_streets", eval_size=(20, 30), num_train=4, num_validation=2, num_classes=5)
    dataset = build_dataset(spec)
    assert dataset.info.num_classes == 5
    assert dataset.info.class_names[3] == "Road"
    assert (len(dataset.train), len(dataset.validation)) == (4, 2)
    assert dataset.validation[1]["image"].shape == (20, 30, 3)
    larger = build_dataset(DataSpec("synthetic_streets", eval_size=(20, 30), base_size=(40, 60)))
    assert larger.train[0]["label"].shape == (40, 60)


@pytest.mark.parametrize("count", [1, 12])
def test_impossible_class_counts(count):
    with pytest.raises(UserError, match=f"2 to 11 classes, not num_classes={count}"):
        build_dataset(DataSpec("synthetic_streets", num_classes=count))


def test_no_street_beyond_the_last():
    with pytest.raises(IndexError, match="street 8 of 8"):
        source()[8]
