"""Boundary IoU (Cheng et al. 2021, arXiv:2103.16562): IoU of what lies within a small distance of the contours."""

import cv2
import numpy as np
from jaxtyping import Bool, Int64, UInt8

from rtseg_jax.labels import IGNORE

RATIO = 0.02
"""Width of the band as a share of the picture's diagonal, as published for pictures such as COCO's."""


def band_width(size: tuple[int, int], ratio: float = RATIO) -> int:
    """Pixels of the band inside a contour, at least one."""
    return max(1, round(ratio * float(np.hypot(*size))))


def boundary_band(labels: UInt8[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
    """Pixels with a pixel of another label, or the picture's edge, at most `width` away in rows and columns.

    All classes at once: eroding the mask of a class `width` times by 3 × 3 keeps exactly the pixels whose whole square
    has its label.
    """
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inner = cv2.erode(labels, kernel) == cv2.dilate(labels, kernel)
    inner[:width] = inner[-width:] = inner[:, :width] = inner[:, -width:] = False
    return ~inner


def boundary_counts(
    truth: UInt8[np.ndarray, "h w"], prediction: UInt8[np.ndarray, "h w"], num_classes: int, ratio: float = RATIO
) -> Int64[np.ndarray, "3 {num_classes}"]:
    """Pixels per class inside the bands: of the truth, of the prediction, of both; sum them over a set.

    Where the paper scores one mask, this sums over the set as IoU does. Ignored pixels are ignored in the prediction
    too before its contours are taken, so that a right prediction has the contours of the truth.
    """
    prediction = np.where(truth == IGNORE, np.uint8(IGNORE), prediction)
    width = band_width(truth.shape, ratio)  # type: ignore[arg-type]
    of_truth, of_prediction = (boundary_band(labels, width) for labels in (truth, prediction))
    both = of_truth & of_prediction & (truth == prediction)
    counted = (truth[of_truth], prediction[of_prediction], truth[both])
    return np.stack([np.bincount(labels, minlength=IGNORE + 1)[:num_classes] for labels in counted]).astype(np.int64)
