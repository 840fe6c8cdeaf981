from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.masks import Masks
from exporter.bundle.polygons import Ring, polygon, simplify
from exporter.errors import RequestError


def filled(rings: tuple[Ring, ...], size: tuple[int, int]) -> np.ndarray:
    """The pixels inside an odd number of rings: an upright edge turns all to its right."""
    height, width = size
    turned = np.zeros((height, width + 1), np.int64)
    for ring in rings:
        for (x, y), (_, y1) in zip(ring, (*ring[1:], ring[0]), strict=True):
            turned[min(y, y1) : max(y, y1), x] += 1
    return np.cumsum(turned[:, :-1], axis=1) % 2 == 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (23, 31)])
def test_without_tolerance_the_rings_hold_exactly_the_mask(size, share):
    rng = np.random.default_rng(3)
    for _ in range(5):
        mask = rng.random(size) < share
        rings = polygon(mask, 0)
        np.testing.assert_array_equal(filled(rings, size), mask)
        assert list(rings) == sorted(rings, key=lambda ring: ring[0][::-1])


def test_the_mask_is_on_the_right_and_a_hole_runs_the_other_way():
    mask = np.ones((3, 4), np.bool_)
    mask[1, 1:3] = False
    assert polygon(mask, 0) == (
        ((0, 0), (4, 0), (4, 3), (0, 3)),
        ((1, 1), (1, 2), (3, 2), (3, 1)),
    )


def test_pixels_that_touch_at_a_corner_are_apart():
    rings = polygon(np.eye(2, dtype=np.bool_), 0)
    assert [ring[0] for ring in rings] == [(0, 0), (1, 1)]


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])
def test_no_corner_is_farther_than_the_tolerance_from_the_outline_that_stays(tolerance):
    y, x = np.mgrid[:60, :80]
    (whole,) = polygon((x - 40) ** 2 + 2 * (y - 30) ** 2 < 900, 0)
    kept = np.array(simplify(whole, tolerance), np.float64)
    assert 2 < len(kept) < len(whole)
    ends = np.roll(kept, -1, axis=0) - kept
    for corner in whole:
        off = np.array(corner, np.float64) - kept
        part = np.clip((off * ends).sum(1) / (ends**2).sum(1), 0, 1)
        nearest = np.hypot(*(off - part[:, None] * ends).T).min()
        assert nearest <= tolerance + 1e-9


def test_masks_trace_their_outlines():
    masks = np.zeros((2, 5, 5), np.bool_)
    masks[1, 1:4, 1:4] = True
    found = Masks(masks, np.zeros(2, np.float32), np.zeros((2, 1, 1), np.float32))
    assert found.polygon(0) == ()
    assert found.polygon(1) == (((1, 1), (4, 1), (4, 4), (1, 4)),)


@pytest.mark.parametrize("tolerance", [-1.0, np.inf, np.nan])
def test_an_impossible_tolerance_is_refused(tolerance):
    with pytest.raises(RequestError, match="tolerance is 0 or more pixels"):
        polygon(np.ones((2, 2), np.bool_), tolerance)
