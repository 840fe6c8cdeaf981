"""Weights as indices into a palette of 16 or 64 values, found by k-means; the same on every run."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 2
"""Bins for each centre, of the histogram that the first centres come from: finer ones are empty or
hold one weight, and k-means ends with twice the error if few weights share a palette."""
MOST_STEPS = 100

Floats = npt.NDArray[np.floating[Any]]


def cluster(weight: Floats, bits: int) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Find the palette of a weight that rounds it least: k-means on its distinct values.

    Nothing is drawn: the first centres lie as dense as the cube root of the values' density, which
    is where many centres end up.

    Returns:
        Palette (2**bits,) in ascending order, of the weight's type; indices (weight.size,).
    """
    values, inverse, counts = np.unique(weight, return_inverse=True, return_counts=True)
    palette = np.zeros(1 << bits, weight.dtype)
    if len(values) <= len(palette):
        palette[: len(values)] = values
        return palette, inverse.reshape(-1).astype(np.uint8)
    palette[:] = _centres(values.astype(np.float64), counts, len(palette))
    nearest = np.searchsorted(_borders(palette.astype(np.float64)), values)
    return palette, nearest[inverse.reshape(-1)].astype(np.uint8)


def _borders(centres: Floats) -> Floats:
    between: Floats = (centres[1:] + centres[:-1]) / 2
    return between


def _centres(values: Floats, counts: npt.NDArray[np.integer[Any]], number: int) -> Floats:
    """Run k-means on sorted values, each `counts` times there; sums of ranges give the means."""
    density, edges = np.histogram(values, BINS * number, weights=counts)
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
    centres: Floats = np.interp((np.arange(number) + 0.5) / number * share[-1], share, edges)
    before = np.concatenate([[0], np.cumsum(counts)])
    sums = np.concatenate([[0.0], np.cumsum(values * counts)])
    borders = np.full(number - 1, -1)
    for _ in range(MOST_STEPS):
        last, borders = borders, np.searchsorted(values, _borders(centres))
        if np.array_equal(last, borders):
            break
        ends = np.concatenate([[0], borders, [len(values)]])
        held, total = np.diff(before[ends]), np.diff(sums[ends])
        centres = np.where(held > 0, total / np.maximum(held, 1), centres)
    return centres
