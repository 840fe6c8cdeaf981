"""The outline of a mask as polygons. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporter.bundle.preprocess import Bools
from exporter.errors import RequestError

Corner = tuple[int, int]
Ring = tuple[Corner, ...]

_MOVES: tuple[Corner, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Right, down, left, up: the next one turns right."""
_RIGHT = ((0, 0), (-1, 0), (-1, -1), (0, -1))
"""From a corner, the pixel ahead to the right of each move."""


def polygon(mask: Bools, tolerance: float = 1.0) -> tuple[Ring, ...]:
    """Trace the outline of a mask (H, W).

    Args:
        mask: pixels that touch at a corner only are apart.
        tolerance: pixels that the outline may deviate; 0 keeps every corner.

    Returns:
        Rings of (x, y) corners of pixels, not closed: 0..W and 0..H. The mask is on the right of
        every step: outer rings are clockwise on a screen, those of holes counterclockwise. A ring
        begins at its topmost corner, the leftmost of several; rings are sorted by that of their
        first corner. Rings that simplify to a line or a point are left out.

    Raises:
        RequestError: the tolerance is negative or not finite.
    """
    if not 0 <= tolerance < np.inf:
        raise RequestError(f"a polygon's tolerance is 0 or more pixels, not {tolerance:g}")
    rings = (simplify(ring, tolerance) for ring in trace(mask))
    return tuple(ring for ring in rings if len(ring) > 2)


def trace(mask: Bools) -> list[Ring]:
    """Find every ring of a mask (H, W), with the corners at which it turns."""
    padded = np.pad(mask, 1)
    top = padded[1:-1, 1:-1] & ~padded[:-2, 1:-1]
    seen = np.zeros_like(top)
    rings = []
    for y, x in np.argwhere(top).tolist():
        if not seen[y, x]:
            rings.append(_follow(padded, seen, (x, y)))
    return sorted(rings, key=lambda ring: (ring[0][1], ring[0][0]))


def _follow(padded: Bools, seen: Bools, start: Corner) -> Ring:
    """Walk around from the upper left corner of a pixel whose upper neighbour is outside."""
    (x, y), way = start, 0
    ring = []
    while True:
        if way == 0:
            seen[y, x] = True
        x, y = x + _MOVES[way][0], y + _MOVES[way][1]
        turn = _turn(padded, x, y, way)
        if turn:
            ring.append((x, y))
        way = (way + turn) % 4
        if (x, y) == start and way == 0:
            return _from_the_top(ring)


def _turn(padded: Bools, x: int, y: int, way: int) -> int:
    """Decide at a corner: 1 to the right, -1 to the left, 0 ahead."""
    right, left = _RIGHT[way], _RIGHT[(way - 1) % 4]
    if not padded[y + right[1] + 1, x + right[0] + 1]:
        return 1
    return -1 if padded[y + left[1] + 1, x + left[0] + 1] else 0


def _from_the_top(ring: Sequence[Corner]) -> Ring:
    first = min(range(len(ring)), key=lambda at: (ring[at][1], ring[at][0]))
    return (*ring[first:], *ring[:first])


def simplify(ring: Ring, tolerance: float) -> Ring:
    """Leave out corners that are no farther than `tolerance` from what remains.

    Douglas and Peucker's rule, between the first corner and the one farthest from it.
    """
    kept = np.zeros(len(ring) + 1, np.bool_)
    closed = (*ring, ring[0])
    far = max(range(len(ring)), key=lambda at: _square(ring[0], ring[at]))
    kept[[0, far]] = True
    waiting = [(0, far), (far, len(ring))]
    while waiting:
        first, last = waiting.pop()
        within = range(first + 1, last)
        ends = closed[first], closed[last]
        worst = max(within, key=lambda at: _distance(closed[at], *ends), default=first)
        if worst != first and _distance(closed[worst], *ends) > tolerance * tolerance:
            kept[worst] = True
            waiting += [(first, worst), (worst, last)]
    return tuple(corner for corner, keep in zip(ring, kept[:-1], strict=True) if keep)


def _square(a: Corner, b: Corner) -> int:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def _distance(p: Corner, a: Corner, b: Corner) -> float:
    """Measure from `p` to the line between `a` and `b`, squared."""
    length = _square(a, b)
    along = (p[0] - a[0]) * (b[0] - a[0]) + (p[1] - a[1]) * (b[1] - a[1])
    if along <= 0:
        return float(_square(p, a))
    if along >= length:
        return float(_square(p, b))
    across = (p[0] - a[0]) * (b[1] - a[1]) - (p[1] - a[1]) * (b[0] - a[0])
    return float(across) * float(across) / float(length)
