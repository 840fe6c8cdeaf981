"""Constants with few distinct values as a look-up table: the same values, in less of the file.

An attention bias has one number for each distance of two tokens, and the graph adds one for each
pair of tokens: 196 numbers a head become 38,416.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_VALUES = 2048
"""A smaller table stays as it is."""
BITS = (1, 2, 4, 6, 8)
"""Of an index, which Core ML before iOS 18 reads too."""

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LookUp:
    """`values[:, g] == lut[g][indices]` along `axis`, bit for bit.

    Attributes:
        axis: of the groups; with one group, its side may be any.
        indices: of the shape of the values, with side 1 along `axis` if there are groups.
        lut: (groups, 2**bits), filled up with zeros.
    """

    axis: int
    indices: npt.NDArray[np.uint8]
    lut: Floats


def look_up(values: Floats) -> LookUp | None:
    """Find a table of at most 256 values for all of them, or one for each slice along an axis."""
    if one := _grouped(values.reshape(1, -1)):
        return LookUp(0, one[0].reshape(values.shape), one[1])
    for axis, groups in enumerate(values.shape):
        if groups == 1 or groups == values.size:
            continue
        slices = np.moveaxis(values, axis, 0)
        if found := _grouped(slices.reshape(groups, -1)):
            indices = np.expand_dims(found[0].reshape(slices.shape[1:]), axis)
            return LookUp(axis, indices, found[1])
    return None


def _grouped(slices: Floats) -> tuple[npt.NDArray[np.uint8], Floats] | None:
    """(groups, n) -> indices (n,) and tables (groups, 2**bits); None if that saves nothing.

    Values are numbered as they appear, so that tables of the same pattern have the same indices.
    """
    bits = np.ascontiguousarray(slices).view(f"u{slices.itemsize}")
    if len(np.unique(bits[0])) > 1 << BITS[-1]:
        return None
    _, first, inverse = np.unique(bits, axis=1, return_index=True, return_inverse=True)
    distinct = len(first)
    if distinct > 1 << BITS[-1]:
        return None
    order = np.argsort(first)
    number = np.empty(distinct, np.uint8)
    number[order] = np.arange(distinct)
    width = next(width for width in BITS if distinct <= 1 << width)
    if len(slices) << width > slices.size // 4:
        return None
    lut = np.zeros((len(slices), 1 << width), slices.dtype)
    lut[:, :distinct] = slices[:, first[order]]
    return number[inverse.reshape(-1)], lut
