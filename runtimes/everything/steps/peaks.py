"""Peaks of a map of scores: the places that a head on the image embedding proposes to click."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Floats, Frame


def peaks_in_picture(scores: Floats, frame: Frame) -> tuple[npt.NDArray[np.float64], Floats]:
    """List the peaks that lie on the picture, in its pixels, the highest first.

    Args:
        scores: (h, w) that cover the network's input.
        frame: where the picture lies in it.

    Returns:
        (n, 2) x, y, and their scores (n,).
    """
    places, rated = peaks(scores)
    cells = np.array(scores.shape[::-1], np.float64)
    moved = places * (frame.size / cells) - np.array(frame.offset, np.float64)
    resized = np.array(frame.resized, np.float64)
    inside = ((moved >= 0) & (moved < resized)).all(axis=1)
    points = moved[inside] * (np.array(frame.original, np.float64) / resized)
    return points, rated[inside]


def peaks(scores: Floats) -> tuple[npt.NDArray[np.float64], Floats]:
    """List the cells that score higher than all that are near them, the highest first.

    A place is moved within its cell to the top of the parabola through its neighbours' scores, on
    either axis. What is no number is no peak.

    Args:
        scores: (h, w).

    Returns:
        (n, 2) x and y in cells, whose first is from 0 to 1, and their scores (n,).
    """
    known = np.where(np.isfinite(scores), scores, -np.inf).astype(np.float32)
    around = np.pad(known, 1, constant_values=-np.inf)
    height, width = known.shape
    highest = np.isfinite(known)
    for y, x in np.ndindex(3, 3):
        if (y, x) != (1, 1):
            beside = around[y : y + height, x : x + width]
            # Of equal neighbours the first in reading order is the peak.
            highest &= known > beside if (y, x) < (1, 1) else known >= beside
    rows, columns = np.nonzero(highest)
    order = np.argsort(-known[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    top = known[rows, columns]
    right = _offset(around[rows + 1, columns], around[rows + 1, columns + 2], top)
    down = _offset(around[rows, columns + 1], around[rows + 2, columns + 1], top)
    places = np.stack([columns + 0.5 + right, rows + 0.5 + down], axis=1)
    return places.astype(np.float64), top


def _offset(before: Floats, after: Floats, top: Floats) -> Floats:
    """Find a parabola's top, from the middle of three cells: -0.5 to 0.5; 0 at an edge."""
    inside = np.isfinite(before) & np.isfinite(after)
    left, right = np.where(inside, before, 0), np.where(inside, after, 0)
    bend = 2 * top - left - right
    steep = inside & (bend > 0)
    found: Floats = np.where(steep, (right - left) / (2 * np.where(steep, bend, 1)), 0)
    return found.astype(np.float32)
