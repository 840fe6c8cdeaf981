"""Masks as run lengths down the columns, zeros first: COCO's form, and its compressed text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bools

Ints = npt.NDArray[np.int64]
_CHARACTER = 48
_BITS, _SIGN, _MORE = 5, 0x10, 0x20


def runs_of(part: Bools, corner: tuple[int, int], size: tuple[int, int]) -> Ints:
    """Encode a mask that is clear outside one rectangle.

    Args:
        part: (h, w), what lies in the rectangle.
        corner: x, y of the rectangle's top left corner in the picture.
        size: height and width of the picture.

    Returns:
        Lengths of clear and set pixels by turns, column after column.
    """
    (left, top), (height, width) = corner, size
    # Where a pixel differs from the one above it: rows are walked as they lie in memory, which is
    # ten times faster on a photo than columns, and only what was found is sorted.
    below, across = np.nonzero(part[1:] ^ part[:-1])
    first, last = np.flatnonzero(part[0]), np.flatnonzero(part[-1])
    columns = np.concatenate([first, across, last])
    rows = np.concatenate(
        [np.zeros(len(first), np.int64), below + 1, np.full(len(last), part.shape[0])]
    )
    order = np.lexsort((rows, columns))  # a column has a start and an end by turns
    edges = (left + columns[order]) * height + top + rows[order]
    return _joined(edges[0::2], edges[1::2], height * width)


def _joined(starts: Ints, ends: Ints, pixels: int) -> Ints:
    """Turn sorted [start, end) of set pixels into run lengths; touching ones become one."""
    meets = starts[1:] == ends[:-1]
    starts = starts[np.r_[True, ~meets]] if len(starts) else starts
    ends = ends[np.r_[~meets, True]] if len(ends) else ends
    edges = np.empty(2 * len(starts) + 2, np.int64)
    edges[0], edges[-1] = 0, pixels
    edges[1:-1:2], edges[2:-1:2] = starts, ends
    runs = np.diff(edges)
    # A mask that ends with the picture has no clear run after it; an empty picture's one run stays.
    return runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs


def spans_of(runs: Ints, height: int) -> tuple[Ints, Ints, Ints]:
    """Split the set runs at the ends of columns: column, first row, and row after the last."""
    edges = np.concatenate([[0], np.cumsum(runs)])
    starts, ends = edges[1:-1:2], edges[2::2]
    starts = starts[: len(ends)]
    first, last = starts // height, (ends - 1) // height
    counts = last - first + 1
    run = np.repeat(np.arange(len(starts)), counts)
    column = first[run] + np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts)
    low = np.maximum(starts[run] - column * height, 0)
    high = np.minimum(ends[run] - column * height, height)
    return column, low, high


def runs_of_spans(column: Ints, low: Ints, high: Ints, size: tuple[int, int]) -> Ints:
    """Join spans, sorted by column and row, into the run lengths of a (height, width) mask."""
    first = column * size[0]
    return _joined(first + low, first + high, size[0] * size[1])


def mask_of(runs: Ints, size: tuple[int, int]) -> Bools:
    """Decode run lengths to a mask (height, width)."""
    height, width = size
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def area_of(runs: Ints) -> int:
    """Count the set pixels."""
    return int(runs[1::2].sum())


def box_of(runs: Ints, height: int) -> tuple[int, int, int, int]:
    """Find the first and last set column and row: x0, y0, x1, y1; zeros for an empty mask."""
    column, low, high = spans_of(runs, height)
    if not len(column):
        return 0, 0, 0, 0
    return int(column[0]), int(low.min()), int(column[-1]), int(high.max()) - 1


def coco_text(runs: Ints) -> str:
    """Spell run lengths as COCO's compressed text: each less the last but one, five bits a sign."""
    changes = runs.copy()
    changes[3:] -= runs[1:-2]
    text = bytearray()
    for number in changes.tolist():
        more = True
        while more:
            bits = number & (_MORE - 1)
            number >>= _BITS
            more = number != (-1 if bits & _SIGN else 0)
            text.append(_CHARACTER + (bits | _MORE if more else bits))
    return text.decode("ascii")
