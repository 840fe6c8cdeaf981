"""Grids of points, and crops of a picture, as `segment_anything/utils/amg.py` lays them."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt

from exporter.errors import RequestError

Points = npt.NDArray[np.float64]
Crop = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, the last two exclusive."""


def point_grid(side: int) -> Points:
    """(side * side, 2) x, y in 0..1, row by row: the centres of that many cells."""
    if side < 1:
        raise RequestError("a grid of points needs at least one point a side: ask for more points")
    half = 1 / (2 * side)
    along = np.linspace(half, 1 - half, side)
    return np.stack([np.tile(along, side), np.repeat(along, side)], axis=-1)


def layer_grids(side: int, layers: int, downscale: float) -> tuple[Points, ...]:
    """Make the whole picture's grid, then one for the crops of each layer.

    Raises:
        RequestError: a layer has no point.
    """
    return tuple(point_grid(int(side / downscale**layer)) for layer in range(layers + 1))


def crops_of(height: int, width: int, layers: int, overlap: float) -> tuple[tuple[Crop, int], ...]:
    """List the whole picture, then 2^i x 2^i overlapping crops of each layer i, x outer.

    Args:
        height: of the picture.
        width: of the picture.
        layers: 0 for none.
        overlap: of the first layer's crops, as a share of the shorter side; later ones have less.

    Returns:
        Crops, each with its layer.
    """
    found = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        shared = int(overlap * min(height, width) * (2 / count))
        wide, tall = (math.ceil((shared * (count - 1) + side) / count) for side in (width, height))
        starts = ([(side - shared) * at for at in range(count)] for side in (wide, tall))
        found += [
            ((x, y, min(x + wide, width), min(y + tall, height)), layer)
            for x, y in product(*starts)
        ]
    return tuple(found)
