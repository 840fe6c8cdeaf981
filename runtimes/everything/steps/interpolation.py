"""Logits to a crop's size a block at a time, both interpolations as one matrix a side.

Nothing of a large picture's size is held in floats: a block whose logits all lie on one side of
every threshold is counted without being computed, which is nearly all of a mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from exporter.bundle.preprocess import Bools, Floats

Box = tuple[int, int, int, int]
_CELLS = 16  # low-res rows or columns that a block spans, about
_SURE = 1e-3  # more than rounding can move a logit between its neighbours
_HUGE = 1e30


@dataclass(frozen=True)
class Block:
    """Rows or columns of the result, and those of the logits that they are made of."""

    out: slice
    taken: slice


def blocks_of(matrix: Floats) -> tuple[Block, ...]:
    """Cut an interpolation (new, old) into blocks of rows with few columns each."""
    rows = max(32, _CELLS * matrix.shape[0] // max(1, matrix.shape[1]))
    blocks = []
    for first in range(0, matrix.shape[0], rows):
        out = slice(first, min(first + rows, matrix.shape[0]))
        used = np.flatnonzero(matrix[out].any(axis=0))
        blocks.append(Block(out, slice(int(used[0]), int(used[-1]) + 1)))
    return tuple(blocks)


@dataclass(frozen=True)
class Measured:
    """What one mask is at the crop's size.

    Attributes:
        above: pixels above the upper edge of the threshold's band.
        within: pixels above the lower edge.
        box: first and last set column and row: x0, y0, x1, y1; zeros for an empty mask.
    """

    above: int
    within: int
    box: Box

    @property
    def stability(self) -> np.float32:
        """Share of the mask that stays when the threshold rises; not a number for 0 / 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.float32(np.float32(self.above) / np.float32(self.within))


class Upscaler:
    """Masks of a crop (height, width) from logits (h, w).

    Args:
        tall: (height, rows) of the interpolation; rows may be fewer than the logits have.
        wide: (width, columns).
        squashed: whether tanh(logit / 2) is interpolated; thresholds go the same way.

    Attributes:
        size: height and width of the crop.
        covered: rows and columns of the logits that the crop is made of.
    """

    def __init__(self, tall: Floats, wide: Floats, *, squashed: bool = False) -> None:
        self.tall, self.wide, self.squashed = tall, wide, squashed
        self.size = (tall.shape[0], wide.shape[0])
        used = (int(np.flatnonzero(side.any(axis=0))[-1]) + 1 for side in (tall, wide))
        self.covered: tuple[int, ...] = tuple(used)
        self._rows, self._columns = blocks_of(tall), blocks_of(wide)
        # Cubic weights overshoot what they lie between, so nothing is sure of a block.
        self._convex = bool(tall.min() >= 0 and wide.min() >= 0)

    def measure(self, logits: Floats, threshold: float, offset: float) -> Measured:
        """Count a mask's stability band and find its box, without making it."""
        edges = tuple(self._edge(threshold + step) for step in (offset, 0.0, -offset))
        counts = [0, 0, 0]
        xs, ys = np.zeros(self.size[1], np.bool_), np.zeros(self.size[0], np.bool_)
        for rows, columns, block in self._blocks(logits, min(edges), max(edges)):
            if block is None:
                pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
                counts = [count + pixels for count in counts]
                ys[rows], xs[columns] = True, True
                continue
            mask = block > edges[1]
            counts = [
                counts[0] + int(np.count_nonzero(block > edges[0])),
                counts[1] + int(np.count_nonzero(mask)),
                counts[2] + int(np.count_nonzero(block > edges[2])),
            ]
            ys[rows] |= mask.any(axis=1)
            xs[columns] |= mask.any(axis=0)
        return Measured(counts[0], counts[2], _box(xs, ys))

    def mask(self, logits: Floats, threshold: float, box: Box | None = None) -> Bools:
        """Make the part of a mask within its box, both ends inclusive; all of it without a box."""
        x0, y0, x1, y1 = box or (0, 0, self.size[1] - 1, self.size[0] - 1)
        part = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.bool_)
        edge = self._edge(threshold)
        for rows, columns, block in self._blocks(logits, edge, edge):
            inner = _meeting(rows, y0, y1), _meeting(columns, x0, x1)
            if inner[0].stop <= inner[0].start or inner[1].stop <= inner[1].start:
                continue
            into = part[_shifted(inner[0], y0), _shifted(inner[1], x0)]
            if block is None:
                into[:] = True
            else:
                taken = block[_shifted(inner[0], rows.start), _shifted(inner[1], columns.start)]
                np.greater(taken, edge, out=into)
        return part

    def _edge(self, threshold: float) -> np.float32:
        return np.float32(math.tanh(threshold / 2) if self.squashed else threshold)

    def _blocks(
        self, logits: Floats, low: np.float32, high: np.float32
    ) -> Iterator[tuple[slice, slice, Floats | None]]:
        """Go through the blocks that may have a logit above `low`; None if all are above `high`."""
        logits = np.tanh(finite(logits) / 2) if self.squashed else finite(logits)
        for rows in self._rows:
            taken = logits[rows.taken]
            least, most = taken.min(axis=0), taken.max(axis=0)
            taller: Floats | None = None
            for columns in self._columns:
                if self._convex and most[columns.taken].max() <= low - _SURE:
                    continue
                if self._convex and least[columns.taken].min() > high + _SURE:
                    yield rows.out, columns.out, None
                    continue
                if taller is None:
                    taller = self.tall[rows.out, rows.taken] @ taken
                weights = self.wide[columns.out, columns.taken]
                yield rows.out, columns.out, taller[:, columns.taken] @ weights.T


def finite(logits: Floats) -> Floats:
    """Put a number far below every threshold where a logit is none."""
    if np.isfinite(logits).all():
        return logits
    return np.nan_to_num(logits, nan=-_HUGE, posinf=_HUGE, neginf=-_HUGE)


def extent(mask: Bools) -> Box:
    """Find a mask's box: first and last set column and row; zeros for an empty mask."""
    columns, rows = np.zeros(mask.shape[1], np.bool_), np.zeros(mask.shape[0], np.bool_)
    mask.any(axis=0, out=columns)
    mask.any(axis=1, out=rows)
    return _box(columns, rows)


def _box(xs: Bools, ys: Bools) -> Box:
    columns, rows = np.flatnonzero(xs), np.flatnonzero(ys)
    if not len(columns):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _meeting(block: slice, first: int, last: int) -> slice:
    return slice(max(block.start, first), min(block.stop, last + 1))


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)
