"""Prompts for a known mask: points inside, outside and deepest inside, and boxes."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
"""(H, W)."""

Point = tuple[float, float]
"""x and y, in pixels of the mask."""


def deepest_pixel(mask: Mask) -> Point:
    """Find the pixel farthest from the outside; of several, the nearest to their mean.

    The distance is the number of erosions survived, by a cross and a square in turn, within a few
    percent of the Euclidean distance. The border of the picture counts as outside.
    """
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(cols[0])
    core = np.pad(mask[top : rows[-1] + 1, left : cols[-1] + 1], 1)
    turn = 0
    while True:
        smaller = _erode(core, square=turn % 2 == 1)
        if not smaller.any():
            break
        core, turn = smaller, turn + 1
    ys, xs = np.nonzero(core)
    nearest = int(np.argmin((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2))
    return float(xs[nearest] - 1 + left), float(ys[nearest] - 1 + top)


def _erode(mask: Mask, *, square: bool) -> Mask:
    """Keep pixels whose four (for a square, eight) neighbours are all inside; the rim is False."""
    out = np.zeros_like(mask)
    if square:
        wide = mask[:, :-2] & mask[:, 1:-1] & mask[:, 2:]
        out[1:-1, 1:-1] = wide[:-2] & wide[1:-1] & wide[2:]
    else:
        middle = mask[1:-1, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        out[1:-1, 1:-1] = middle & mask[:-2, 1:-1] & mask[2:, 1:-1]
    return out


def random_pixel(rng: Generator, mask: Mask) -> Point:
    """Pick any pixel inside the mask."""
    places = np.flatnonzero(mask)
    row, col = divmod(int(places[int(rng.integers(len(places)))]), mask.shape[1])
    return float(col), float(row)


def bounding_box(mask: Mask) -> tuple[float, float, float, float]:
    """Find x0, y0, x1, y1 of the first and the last pixel inside."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(cols[0]), float(rows[0]), float(cols[-1]), float(rows[-1])


def outside_pixel(rng: Generator, mask: Mask) -> Point:
    """Pick a pixel outside the mask, near it: in its box enlarged by a quarter, if any."""
    x0, y0, x1, y1 = bounding_box(mask)
    wide, high = (x1 - x0) / 4 + 4, (y1 - y0) / 4 + 4
    height, width = mask.shape
    top, left = max(int(y0 - high), 0), max(int(x0 - wide), 0)
    around = ~mask[top : min(int(y1 + high), height), left : min(int(x1 + wide), width)]
    x, y = random_pixel(rng, around) if around.any() else (0.0, 0.0)
    return x + left, y + top


def jittered_box(rng: Generator, mask: Mask) -> tuple[float, float, float, float]:
    """Draw the bounding box; half the time each side is off by some 5 %, as by hand."""
    x0, y0, x1, y1 = bounding_box(mask)
    share = 0.0 if rng.random() < 0.5 else 0.05
    off = np.clip(rng.standard_normal(4), -2, 2) * share
    wide, high = x1 - x0, y1 - y0
    height, width = mask.shape
    return (
        float(np.clip(x0 + off[0] * wide, 0, width - 1)),
        float(np.clip(y0 + off[1] * high, 0, height - 1)),
        float(np.clip(x1 + off[2] * wide, 0, width - 1)),
        float(np.clip(y1 + off[3] * high, 0, height - 1)),
    )
