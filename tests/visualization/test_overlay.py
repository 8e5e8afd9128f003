import numpy as np
import pytest

from rtseg_jax.visualization.overlay import (
    LegendEntry,
    blend,
    comparison_picture,
    difference,
    difference_map,
    difference_picture,
    error_map,
    legend_entries,
    wrong_pixels,
)
from rtseg_jax.visualization.palette import colorize

NAMES = ("road", "car", "sky", "a class with a very long name")
PALETTE = ((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0))


def test_colorize_by_hand():
    picture = colorize(np.array([[0, 2], [255, 1]], np.uint8), PALETTE)
    np.testing.assert_array_equal(picture, [[[200, 0, 0], [0, 0, 200]], [[0, 0, 0], [0, 200, 0]]])


@pytest.mark.parametrize("label", [4, 254, -1])
def test_colorize_refuses_a_label_without_colour(label):
    with pytest.raises(ValueError, match=f"label {label} has no colour"):
        colorize(np.array([[label]]), PALETTE)


def test_blend_is_four_parts_image_and_six_parts_colour():
    image = np.full((1, 1, 3), 100, np.uint8)
    np.testing.assert_array_equal(blend(image, np.array([[0]]), PALETTE), [[[160, 40, 40]]])


def test_wrong_pixels_are_labelled_ones():
    truth, prediction = np.array([[0, 1, 255]]), np.array([[0, 2, 1]])
    wrong = wrong_pixels(truth, prediction)
    np.testing.assert_array_equal(wrong, [[False, True, False]])
    right_pixel, wrong_pixel, void_pixel = error_map(np.full((1, 3, 3), 128, np.uint8), wrong, truth != 255)[0].tolist()
    assert wrong_pixel[0] > 200 > 2 * wrong_pixel[1]
    assert right_pixel == [204] * 3  # 0.4 · 128 + 0.6 · 255
    assert void_pixel == [51] * 3  # 0.4 · 128


def test_legend_has_exactly_the_classes_that_occur_the_largest_first():
    truth, prediction = np.array([[0, 0, 1, 255]]), np.array([[2, 2, 2, 0]])
    assert legend_entries(truth, prediction, NAMES, PALETTE) == [
        ("sky", PALETTE[2], (0.0, 0.75)),
        ("road", PALETTE[0], (0.5, 0.25)),
        ("car", PALETTE[1], (0.25, 0.0)),
        ("not labelled", (0, 0, 0), (0.25, 0.0)),
    ]
    assert legend_entries(None, prediction, NAMES, PALETTE) == [
        ("sky", PALETTE[2], (0.75,)),
        ("road", PALETTE[0], (0.25,)),
    ]


def test_legend_says_shares_in_per_cent():
    assert LegendEntry("sky", PALETTE[2], (0.75, 0.0)).text == "sky  75.0 | 0.0 %"
    assert LegendEntry("sky", PALETTE[2], (0.0004,)).text == "sky  <0.1 %"


@pytest.mark.parametrize("columns", [2, 4])
def test_every_class_of_a_large_set_has_its_swatch(columns):
    names = tuple(f"class number {number}" for number in range(150))
    palette = tuple((1 + number, 100, 200) for number in range(150))
    prediction = np.arange(150).reshape(10, 15).repeat(4, 0).repeat(32, 1)
    truth = prediction if columns == 4 else None
    picture = comparison_picture(np.zeros((40, 480, 3), np.uint8), truth, prediction, names, palette)
    text = max(18, picture.width // 90)
    assert set(palette) <= colors_below(picture, 40 + 2 * text)


def colors_below(picture, height):
    return set(map(tuple, np.asarray(picture)[height:].reshape(-1, 3).tolist()))


@pytest.mark.parametrize(("height", "width", "scale"), [(128, 256, 2), (96, 512, 1), (40, 30, 16)])
def test_comparison_has_four_readable_columns_and_a_legend(height, width, scale):
    image = np.full((height, width, 3), 90, np.uint8)
    truth, prediction = np.zeros((2, height, width), int)
    prediction[:, : width // 2] = 3
    picture = comparison_picture(image, truth, prediction, NAMES, PALETTE)
    assert picture.width >= 4 * width * scale
    assert 4 * width * scale * 1.05 > picture.width
    text = max(18, picture.width // 90)
    legend = colors_below(picture, picture.height - round(4.4 * text))
    assert {PALETTE[0], PALETTE[3]} <= legend  # swatches
    assert not {PALETTE[1], PALETTE[2]} & legend
    # The middle of each column, of the left half (predicted wrong) and of the right half.
    pixels, row = np.asarray(picture), picture.height // 2
    gap = (picture.width - 4 * width * scale) // 3
    lefts = [column * (width * scale + gap) for column in range(4)]
    left = [pixels[row, x + width * scale // 4].tolist() for x in lefts]
    right = [pixels[row, x + 3 * width * scale // 4].tolist() for x in lefts]
    assert left[:3] == [[90, 90, 90], [156, 36, 36], [156, 156, 36]]
    assert right[:3] == [[90, 90, 90], [156, 36, 36], [156, 36, 36]]
    assert left[3][0] > 2 * left[3][1]
    assert right[3] == [189] * 3


def test_comparison_without_truth_has_two_columns():
    image, prediction = np.full((32, 480, 3), 90, np.uint8), np.ones((32, 480), int)
    picture = comparison_picture(image, None, prediction, NAMES, PALETTE)
    assert 2 * 480 <= picture.width < 2.1 * 480
    assert PALETTE[1] in colors_below(picture, 64)


def test_comparison_of_an_all_void_picture():
    image, truth = np.full((32, 480, 3), 90, np.uint8), np.full((32, 480), 255)
    picture = comparison_picture(image, truth, np.zeros((32, 480), int), NAMES, PALETTE)
    assert (0, 0, 0) in colors_below(picture, 64)


def test_a_difference_says_who_is_right_where():
    truth = np.array([[0, 1, 2, 3, 255]], np.uint8)
    first, second = np.array([[0, 1, 0, 0, 0]], np.uint8), np.array([[0, 0, 2, 1, 1]], np.uint8)
    only_first, only_second, neither = difference(truth, first, second)
    np.testing.assert_array_equal(only_first, [[False, True, False, False, False]])
    np.testing.assert_array_equal(only_second, [[False, False, True, False, False]])
    np.testing.assert_array_equal(neither, [[False, False, False, True, False]])
    image = np.full((1, 5, 3), 100, np.uint8)
    both, blue, orange, red, void = difference_map(image, truth, first, second)[0].astype(int).tolist()
    assert both == [193] * 3  # 0.4 · 100 + 0.6 · 255
    assert void == [40] * 3
    assert blue[2] > blue[0] + 100
    assert orange[0] > orange[2] + 100 > red[2]
    assert red[0] > red[1] + 100


def test_a_difference_picture_has_five_panels_of_the_same_size():
    image, truth = np.full((9, 480, 3), 100, np.uint8), np.zeros((9, 480), np.uint8)
    picture = difference_picture(image, truth, (truth, truth + 1), ("one", "other"), NAMES, PALETTE)
    row = comparison_picture(image, truth, truth, NAMES, PALETTE)
    assert picture.width - row.width >= 480  # five panels beside four
    assert np.asarray(picture).reshape(-1, 3).tolist().count([40, 110, 220]) > 0  # the legend's blue
