"""Connected regions of a mask, of 8 neighbours, found on its runs: small ones are removed.

As `remove_small_regions` of `segment_anything/utils/amg.py` does with OpenCV, and the filling of
holes in SAM 2's `SAM2Transforms` with its CUDA extension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bools, Floats
from runtimes.everything.steps.runs import runs_of, runs_of_spans, spans_of

Ints = npt.NDArray[np.int64]
FILLED = 10.0
"""Logit of a filled hole; a removed speck gets the negative."""


@dataclass(frozen=True)
class Regions:
    """Vertical spans of one value, each with its region.

    Attributes:
        column: (S,) sorted, and by row within a column.
        low: (S,) first row.
        high: (S,) row after the last.
        label: (S,) number of the region, in the order in which reading row by row meets them.
        areas: (R,) pixels of each region.
    """

    column: Ints
    low: Ints
    high: Ints
    label: Ints
    areas: Ints


def regions_of(column: Ints, low: Ints, high: Ints) -> Regions:
    """Label spans: those of neighbouring columns that touch, corners included, are one region."""
    roots = _roots(len(column), *_touching(column, low, high))
    kept, label = np.unique(roots, return_inverse=True)
    lengths = high - low
    areas = np.zeros(len(kept), np.int64)
    np.add.at(areas, label, lengths)
    first = np.full(len(kept), np.iinfo(np.int64).max)
    np.minimum.at(first, label, low * (int(column.max(initial=0)) + 1) + column)
    rank = np.empty(len(kept), np.int64)
    order = np.argsort(first, kind="stable")
    rank[order] = np.arange(len(kept))
    return Regions(column, low, high, rank[label], areas[order])


def _touching(column: Ints, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Pair each span with those of the next column that it touches."""
    step = int(high.max(initial=0)) + 2
    begins, ends = column * step + low, column * step + high
    here = np.arange(len(column))
    first = np.searchsorted(ends, begins + step, "left")
    after = np.searchsorted(begins, ends + step, "right")
    counts = np.maximum(after - first, 0)
    left = np.repeat(here, counts)
    offsets = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
    return left, first[left] + offsets


def _roots(count: int, left: Ints, right: Ints) -> Ints:
    """Give joined spans one number: the least among them."""
    roots = np.arange(count)
    while True:
        a, b = roots[left], roots[right]
        least = np.minimum(a, b)
        if np.array_equal(a, b):
            return roots
        np.minimum.at(roots, a, least)
        np.minimum.at(roots, b, least)
        while not np.array_equal(roots, roots[roots]):
            roots = roots[roots]


def clear_spans(runs: Ints, size: tuple[int, int]) -> tuple[Ints, Ints, Ints]:
    """Find the spans of clear pixels, as `spans_of` does those of set ones."""
    turned = runs[1:] if runs[0] == 0 else np.concatenate([[0], runs])
    return spans_of(turned, size[0])


def without_small(runs: Ints, size: tuple[int, int], area: float) -> tuple[Ints, bool]:
    """Fill the holes, then remove the islands of fewer pixels than `area`.

    If all islands are smaller, the largest stays.

    Args:
        runs: of a mask.
        size: its height and width.
        area: in pixels.

    Returns:
        Run lengths, and whether anything changed.
    """
    filled, holes = fill_holes(runs, size, area)
    kept, islands = drop_islands(filled, size, area)
    return kept, holes or islands


def fill_holes(runs: Ints, size: tuple[int, int], area: float) -> tuple[Ints, bool]:
    """Set the clear regions of fewer pixels than `area`; see `without_small`."""
    clear = regions_of(*clear_spans(runs, size))
    stays = (clear.areas >= area)[clear.label]
    if stays.all():
        return runs, False
    left = runs_of_spans(clear.column[stays], clear.low[stays], clear.high[stays], size)
    return _inverted(left), True


def drop_islands(runs: Ints, size: tuple[int, int], area: float) -> tuple[Ints, bool]:
    """Clear the set regions of fewer pixels than `area`; see `without_small`."""
    found = regions_of(*spans_of(runs, size[0]))
    large = found.areas >= area
    if large.all():
        return runs, False
    if not large.any():
        large[np.argmax(found.areas)] = True
    stays = large[found.label]
    kept = runs_of_spans(found.column[stays], found.low[stays], found.high[stays], size)
    return kept, True


def _inverted(runs: Ints) -> Ints:
    return runs[1:] if runs[0] == 0 else np.concatenate([[0], runs])


def fill_logits(logits: Floats, most: float) -> Floats:
    """Fill holes and remove specks of at most `most` pixels in logits (h, w), as SAM 2 does.

    Both are looked for in the mask before either is done; its threshold is 0.
    """
    inside = logits > 0
    runs = runs_of(inside, (0, 0), (logits.shape[0], logits.shape[1]))
    size = (logits.shape[0], logits.shape[1])
    filled = logits.copy()
    filled[_small(clear_spans(runs, size), size, most)] = FILLED
    filled[_small(spans_of(runs, size[0]), size, most)] = -FILLED
    return filled


def _small(spans: tuple[Ints, Ints, Ints], size: tuple[int, int], most: float) -> Bools:
    found = regions_of(*spans)
    small = (found.areas <= most)[found.label]
    marked = np.zeros(size, np.bool_)
    for column, low, high in zip(
        found.column[small], found.low[small], found.high[small], strict=True
    ):
        marked[low:high, column] = True
    return marked
