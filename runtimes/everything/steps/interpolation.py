"""Logits to a crop's size a block at a time, both interpolations as one matrix a side.

Nothing of a large picture's size is held in floats: a block whose logits all lie on one side of
every threshold is counted without being computed, which is nearly all of a mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bools, Floats

Box = tuple[int, int, int, int]
# A product of so few multiplications is not shared out among threads by OpenBLAS, which makes a
# mask of 12 megapixels thirty times slower on a busy machine of two cores.
_SMALL = 200_000
_TAPS = 3
_STEP = 16
_SURE = 1e-3  # more than rounding can move a logit between its neighbours
_HUGE = 1e30


@dataclass(frozen=True)
class Block:
    """Rows or columns of the result, and those of the logits that they are made of."""

    out: slice
    taken: slice
    weights: Floats


def blocks_of(matrix: Floats) -> tuple[Block, ...]:
    """Cut an interpolation (new, old) into blocks of rows with few columns each."""
    share = matrix.shape[1] / matrix.shape[0]
    rows = _STEP
    while (rows + _STEP) ** 2 * ((rows + _STEP) * share + _TAPS) <= _SMALL:
        rows += _STEP
    blocks = []
    for first in range(0, matrix.shape[0], rows):
        out = slice(first, min(first + rows, matrix.shape[0]))
        used = np.flatnonzero(matrix[out].any(axis=0))
        taken = slice(int(used[0]), int(used[-1]) + 1)
        blocks.append(Block(out, taken, np.ascontiguousarray(matrix[out, taken])))
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
        self.squashed = squashed
        self.size = (tall.shape[0], wide.shape[0])
        used = (int(np.flatnonzero(side.any(axis=0))[-1]) + 1 for side in (tall, wide))
        self.covered: tuple[int, ...] = tuple(used)
        self._rows, self._columns = blocks_of(tall), blocks_of(wide)
        # Cubic weights overshoot what they lie between, so nothing is sure of a block.
        self._convex = bool(tall.min() >= 0 and wide.min() >= 0)

    def measure(self, logits: Floats, threshold: float, offset: float) -> Measured:
        """Count a mask's stability band and find its box, without making it."""
        upper, edge, lower = (self._edge(threshold + step) for step in (offset, 0.0, -offset))
        above = within = 0
        xs, ys = np.zeros(self.size[1], np.bool_), np.zeros(self.size[0], np.bool_)
        for rows, columns, block in self._blocks(logits, lower, upper):
            if block is None:
                pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
                above, within = above + pixels, within + pixels
                ys[rows], xs[columns] = True, True
                continue
            mask = block > edge
            above += int(np.count_nonzero(block > upper))
            within += int(np.count_nonzero(block > lower))
            ys[rows] |= mask.any(axis=1)
            xs[columns] |= mask.any(axis=0)
        return Measured(above, within, _box(xs, ys))

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
        some, every = self._judge(logits, low, high)
        for row, column in np.argwhere(some).tolist():
            rows, columns = self._rows[row], self._columns[column]
            if every[row, column]:
                yield rows.out, columns.out, None
                continue
            taken = logits[rows.taken, columns.taken]
            yield rows.out, columns.out, rows.weights @ taken @ columns.weights.T

    def _judge(
        self, logits: Floats, low: np.float32, high: np.float32
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Tell which blocks may have a logit above `low`, and which surely have all above `high`.

        Between neighbours lies nothing that is beyond both, but for rounding.
        """
        if not self._convex:
            shape = (len(self._rows), len(self._columns))
            return np.ones(shape, np.bool_), np.zeros(shape, np.bool_)
        rows = [logits[block.taken] for block in self._rows]
        least, most = (np.stack([f(row, axis=0) for row in rows]) for f in (np.min, np.max))
        columns = [block.taken for block in self._columns]
        least = np.stack([least[:, taken].min(axis=1) for taken in columns], axis=1)
        most = np.stack([most[:, taken].max(axis=1) for taken in columns], axis=1)
        return most > low - np.float32(_SURE), least > high + np.float32(_SURE)


def finite(logits: Floats) -> Floats:
    """Put a number far below every threshold where a logit is none."""
    if np.isfinite(logits).all():
        return logits
    return np.nan_to_num(logits, nan=-_HUGE, posinf=_HUGE, neginf=-_HUGE)


def extent(mask: Bools) -> Box:
    """Find a mask's box: first and last set column and row; zeros for an empty mask."""
    return _box(np.atleast_1d(mask.any(axis=0)), np.atleast_1d(mask.any(axis=1)))


def _box(xs: Bools, ys: Bools) -> Box:
    columns, rows = np.flatnonzero(xs), np.flatnonzero(ys)
    if not len(columns):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _meeting(block: slice, first: int, last: int) -> slice:
    return slice(max(block.start, first), min(block.stop, last + 1))


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)
