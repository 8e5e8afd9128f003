"""Several views of a picture: each by hand, and what must not change the answer."""

import numpy as np
import pytest

from rtseg_jax.data.augmentation import PAD_COLOUR
from rtseg_jax.errors import UserError
from rtseg_jax.inference import Segmenter, from_classes, from_logits
from rtseg_jax.views import Views, labeller, positions, probabilities, slide

LABELS, PALETTE = ("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2))


def colours(picture):
    """Logits are the three colours."""
    return picture[None].astype(np.float32) / 16


def segmenter(network=colours, size=(8, 16), finish=from_logits, any_size=True):
    return Segmenter(LABELS, PALETTE, size, network, finish, any_size)


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("length", "window", "step", "expected"),
    [(10, 4, 3, [0, 3, 6]), (11, 4, 3, [0, 3, 6, 7]), (4, 4, 3, [0]), (3, 4, 1, [0]), (8, 4, 4, [0, 4])],
)
def test_windows_cover_a_side_and_end_with_it(length, window, step, expected):
    assert positions(length, window, step) == expected


@pytest.mark.parametrize("size", [(8, 16), (13, 40), (5, 9), (30, 7)])
def test_windows_of_a_network_that_sees_pixels_alone_change_nothing(size):
    picture = noise(size)
    found = slide(colours, picture, (8, 16), (5, 7))
    np.testing.assert_allclose(found, colours(picture)[0], rtol=1e-6)
    label = labeller(segmenter(), Views(window=(8, 16)))
    np.testing.assert_array_equal(label(picture), np.argmax(picture, axis=-1))


def test_overlapping_windows_count_alike():
    # Each window says its own number everywhere: columns 0 to 3 and 2 to 5 of a picture of 6.
    numbers = iter([1.0, 4.0])
    found = slide(lambda part: np.full((1, *part.shape[:2], 1), next(numbers)), noise((2, 6)), (2, 4), (2, 2))
    np.testing.assert_array_equal(found[0, :, 0], [1, 1, 2.5, 2.5, 4, 4])


def test_small_pictures_are_filled_up_with_grey():
    seen = []

    def network(part):
        seen.append(part)
        return colours(part)

    slide(network, noise((3, 4)), (5, 6), (5, 6))
    np.testing.assert_array_equal(seen[0][:3, :4], noise((3, 4)))
    assert (seen[0][3:] == PAD_COLOUR).all()
    assert (seen[0][:, 4:] == PAD_COLOUR).all()


def test_low_resolution_logits_of_a_window_are_enlarged():
    found = slide(lambda part: np.array([[[[0.0], [4.0]]]], np.float32), noise((1, 4)), (1, 4), (1, 4))
    np.testing.assert_array_equal(found[0, :, 0], [0, 1, 3, 4])


def test_mirrored_views_are_turned_back():
    picture = noise((8, 16))
    np.testing.assert_array_equal(labeller(segmenter(), Views(flip=True))(picture), np.argmax(picture, -1))


def test_the_mean_is_of_probabilities():
    # A network that prefers what lies left: logits (2, 0) where the picture is dark in its left half, (0, 3) else.
    def network(picture):
        dark = picture[..., :1] == 0
        return np.where(dark, [2.0, 0.0], [0.0, 3.0])[None].astype(np.float32)

    def sure(x):
        return 1 / (1 + np.exp(-x))

    picture = np.zeros((1, 2, 3), np.uint8)
    picture[:, 1] = 255
    seen = iter([picture, picture])  # the mirrored view is shown the same: a network that is not symmetric
    label = labeller(segmenter(lambda _: network(next(seen)), size=(1, 2)), Views(flip=True))
    # Left pixel: (2, 0) and, from the mirrored view, (0, 3): class 1 has σ(−2) + σ(3) = 1.07 of 2.
    assert sure(-2) + sure(3) > 1
    np.testing.assert_array_equal(label(picture), [[1, 1]])


def test_scales_are_factors_on_the_input_that_keep_its_sampling():
    seen = []

    def network(picture):
        seen.append(picture.shape[:2])
        return colours(picture)

    label = labeller(segmenter(network, size=(64, 96)), Views(scales=(0.5, 1.0, 1.3)))
    flat = np.zeros((50, 70, 3), np.uint8)
    flat[..., 1] = 9
    np.testing.assert_array_equal(label(flat), np.ones((50, 70)))
    assert seen == [(32, 32), (64, 96), (96, 128)]  # multiples of 32, as the input's sides are


def test_with_a_window_scales_are_of_the_picture():
    seen = []

    def network(picture):
        seen.append(picture.shape[:2])
        return colours(picture)

    labeller(segmenter(network, size=(8, 16), any_size=False), Views(scales=(0.5, 1.0), window=(8, 16)))(
        noise((16, 32))
    )
    assert seen == [(8, 16)] * (1 + 3 * 3)  # steps of 5 and 10: 0, 5, 8 down and 0, 10, 16 to the right


def test_softmax():
    np.testing.assert_allclose(probabilities(np.log(np.array([[[1.0]], [[3.0]]])))[:, 0, 0], [0.25, 0.75])
    assert np.isfinite(probabilities(np.array([[[1000.0]], [[-1000.0]]]))).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Views(scales=(0.0, 1.0)), "scales are positive"),
        (lambda: Views(stride=(4, 4)), "how far a --window moves"),
        (lambda: Views(window=(4, 4), stride=(0, 4)), "at least a pixel"),
        (lambda: Views(window=(0, 4)), "at least a pixel"),
        (lambda: labeller(segmenter(finish=from_classes), Views(flip=True)), "answers with classes"),
        (lambda: labeller(segmenter(size=(64, 96), any_size=False), Views(scales=(2.0,))), "of this file is 64x96"),
        (lambda: labeller(segmenter(any_size=False), Views(window=(8, 8))), "cannot take 8x8"),
        (lambda: labeller(segmenter(size=(64, 96)), Views(window=(60, 96))), "stride-2 layers .* use 64x96"),
    ],
)
def test_views_that_cannot_be_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_views_say_what_they_are():
    assert str(Views()) == "single scale, not mirrored, whole picture"
    assert str(Views((0.5, 1.0), True, (9, 12))) == (
        "scales 0.5, 1 of the picture's own size, with its mirror image, windows of 9x12 every 6x8"
    )
