"""Boxes of masks: the test of a crop's edges, and suppression. Float32, as published."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bools, Floats
from runtimes.everything.steps.grids import Crop

Ints = npt.NDArray[np.int64]
NEAR_EDGE = 20.0
"""Pixels from a crop's side within which a mask may be cut off by it."""


def near_crop_edge(boxes: Ints, crop: Crop, size: tuple[int, int]) -> Bools:
    """Tell which boxes lie near a side of their crop that is not near the picture's own.

    Args:
        boxes: (K, 4) x0, y0, x1, y1 in pixels of the crop.
        crop: in pixels of the picture.
        size: width and height of the picture.
    """
    x0, y0 = crop[:2]
    moved = (boxes + np.array([x0, y0, x0, y0])).astype(np.float32)
    near_crop, near_picture = (
        np.abs(moved - np.array(sides, np.float32)) <= NEAR_EDGE for sides in (crop, (0, 0, *size))
    )
    near: Bools = (near_crop & ~near_picture).any(axis=1)
    return near


def pixel_iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """IoU of two boxes of pixels, both ends inclusive."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:]) + 1
    both = float(np.prod(np.maximum(high - low, 0)))
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return both / (sum(areas) - both)


def suppress(boxes: npt.NDArray[np.generic], scores: Floats, most: float) -> Ints:
    """Keep the best of boxes that overlap; equal scores keep their order.

    Args:
        boxes: (K, 4) x0, y0, x1, y1; a side is a difference, without "+ 1".
        scores: (K,)
        most: an IoU above this with a better box that stays is too much.

    Returns:
        Indices of those that stay, best first.
    """
    corners = np.asarray(boxes, np.float32)
    order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
    low, high = corners[order, :2], corners[order, 2:]
    areas = np.prod(high - low, axis=1, dtype=np.float32)
    left = np.ones(len(order), np.bool_)
    kept = []
    for at in range(len(order)):
        if not left[at]:
            continue
        kept.append(order[at])
        later = slice(at + 1, None)
        shared = np.minimum(high[at], high[later]) - np.maximum(low[at], low[later])
        both = np.prod(np.maximum(shared, 0), axis=1, dtype=np.float32)
        # Two boxes without area give 0 / 0, which is not above anything.
        with np.errstate(invalid="ignore", divide="ignore"):
            left[later] &= ~(both / (areas[at] + areas[later] - both) > np.float32(most))
    return np.array(kept, np.int64)
