"""Random scale, crop, flip and colour. Pure functions: everything random comes from the generator they are given."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from rtseg_jax.data.dataset import DataSpec, Example, Real, Size
from rtseg_jax.labels import IGNORE

PAD_COLOUR = (124, 116, 104)
"""Mean colour of ImageNet: close to zero after normalisation."""

_LUMA = np.array([0.299, 0.587, 0.114])


def augment(example: Example, spec: DataSpec, rng: np.random.Generator) -> Example:
    """One training example of `spec.train_size` from an example of any size."""
    height, width = spec.base_size or example["label"].shape
    scale = random_scale(spec, rng)
    example = resize(example, (max(1, round(height * scale)), max(1, round(width * scale))))
    example = random_crop(example, spec.train_size, rng)
    if spec.flip and rng.random() < 0.5:
        example = flip(example)
    image = colour(example["image"], *(jitter(s, rng) for s in (spec.brightness, spec.contrast, spec.saturation)))
    return {"image": image, "label": example["label"]}


def random_scale(spec: DataSpec, rng: np.random.Generator) -> float:
    """One of `spec.scales`, or a log-uniform draw from `spec.scale_range`."""
    if spec.scale_range is None:
        return float(spec.scales[int(rng.integers(len(spec.scales)))])
    return float(np.exp(rng.uniform(*np.log(spec.scale_range))))


def jitter(strength: Real, rng: np.random.Generator) -> float:
    """A factor from 1 − strength to 1 + strength."""
    return rng.uniform(1 - strength, 1 + strength)


def resize(example: Example, size: Size) -> Example:
    """Resized to (height, width): bilinear image, nearest label, both with half-pixel centres."""
    return {"image": resize_image(example["image"], size), "label": resize_label(example["label"], size)}


def resize_image(image: UInt8[np.ndarray, "h w 3"], size: Size) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Bilinear, half-pixel centres, no low-pass filter."""
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def resize_label(label: UInt8[np.ndarray, "h w"], size: Size) -> UInt8[np.ndarray, "h2 w2"]:
    """Nearest neighbour, half-pixel centres."""
    if label.shape == size:
        return label
    # Plain INTER_NEAREST takes the top-left corner of a pixel for its centre: labels shift against the image.
    return cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def random_crop(example: Example, size: Size, rng: np.random.Generator) -> Example:
    """A window of (height, width); a smaller picture is placed at random in a window of grey and 255."""
    sides = list(zip(example["label"].shape, size, strict=True))
    top, left = (int(rng.integers(max(0, have - want) + 1)) for have, want in sides)
    offset_h, offset_w = (int(rng.integers(max(0, want - have) + 1)) for have, want in sides)
    window = (slice(top, top + size[0]), slice(left, left + size[1]))
    return place({"image": example["image"][window], "label": example["label"][window]}, size, (offset_h, offset_w))


def place(example: Example, size: Size, offset: tuple[int, int]) -> Example:
    """The picture at `offset` (top, left) in a larger one of (height, width), the rest grey and 255."""
    height, width = example["label"].shape
    if (height, width) == size:
        return example
    image = np.full((*size, 3), PAD_COLOUR, np.uint8)
    label = np.full(size, IGNORE, np.uint8)
    window = (slice(offset[0], offset[0] + height), slice(offset[1], offset[1] + width))
    image[window], label[window] = example["image"], example["label"]
    return {"image": image, "label": label}


def flip(example: Example) -> Example:
    """Left and right exchanged."""
    return {"image": example["image"][:, ::-1], "label": example["label"][:, ::-1]}


def colour(
    image: UInt8[np.ndarray, "h w 3"], brightness: float, contrast: float, saturation: float
) -> UInt8[np.ndarray, "h w 3"]:
    """β·(κ·(σ·x + (1−σ)·luma(x)) + (1−κ)·mean luma), clipped to 0–255; factors of 1 change nothing."""
    if brightness == contrast == saturation == 1.0:
        return image
    return cv2.transform(np.ascontiguousarray(image), _colour_matrix(image, brightness, contrast, saturation))


def _colour_matrix(
    image: UInt8[np.ndarray, "h w 3"], brightness: float, contrast: float, saturation: float
) -> Float[np.ndarray, "3 4"]:
    # All three changes are linear in the colour, so that one 3 × 4 matrix does them in one pass over the picture.
    mean_luma = _LUMA @ cv2.mean(np.ascontiguousarray(image))[:3]
    linear = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1)))
    return np.column_stack([linear, np.full(3, brightness * (1 - contrast) * mean_luma)])
