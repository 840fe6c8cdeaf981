"""Numbers for the cases: seeded, and the same bits on every machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from exporter.bundle.preprocess import Bytes, Floats

T = TypeVar("T")

MARGIN = 1e-4
"""Logits nearer to the threshold than this are in no case: sums may be made in any order."""
_KNOTS = 5
_TRIES = 200


def picture(seed: int, width: int, height: int) -> Bytes:
    """Make an RGB picture (H, W, 3): noise, flat parts, black and white."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    rgb[: height // 3, : width // 2] = rng.integers(0, 256, 3, np.uint8)
    rgb[height // 2 :, width // 3 : width // 2] = (0, 255, 0)
    return rgb


def logits(seed: int, count: int, side: int) -> Floats:
    """Make (count, side, side) smooth logits, multiples of 1 / 256 and so exact.

    Args:
        seed: chooses them.
        count: of masks.
        side: 5, 10, 20 or 40.
    """
    rng = np.random.default_rng(seed)
    knots = rng.integers(-40, 41, (count, _KNOTS, _KNOTS)) * 2 + 1
    at = (np.arange(side) * 2 + 1) * _KNOTS / (2 * side) - 0.5
    at = np.clip(at, 0, _KNOTS - 1)
    low = np.minimum(at.astype(np.int64), _KNOTS - 2)
    part = at - low
    rows = knots[:, low] * (1 - part)[:, None] + knots[:, low + 1] * part[:, None]
    smooth = rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part
    return np.asarray(smooth / 4, np.float32)


def first_clear(make: Callable[[int], tuple[T, bool]], seed: int) -> T:
    """Make a case from the first seed, from `seed` on, that is clear of every threshold.

    Raises:
        RuntimeError: none of many is.
    """
    for step in range(_TRIES):
        made, clear = make(seed + 1000 * step)
        if clear:
            return made
    raise RuntimeError(f"no seed like {seed} keeps {MARGIN} from the threshold")
