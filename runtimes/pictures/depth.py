"""Pictures of more than 8 bits -> bytes, by one range of values for the whole picture. numpy only.

The range runs from black to white. `auto` ignores values that are no data (not finite, the file's
own mark, the usual marks, an extreme value that lies apart from all others) and one value in a
thousand at either end, so no hot pixel decides; then

1. the least of 0..255, 1023, 4095, 16383 and 65535 (floats: 0..1 too) that holds the rest,
   if the rest takes at least a quarter of it: black stays black, and the scene keeps its contrast;
2. else what the rest takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bytes
from exporter.errors import ImageError

Values = npt.NDArray[Any]
Range = tuple[float, float]

WHOLE: tuple[float, ...] = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""Whites of cameras, scanners and detectors of 8, 10, 12, 14 and 16 bits."""
FLOAT: tuple[float, ...] = (1.0, *WHOLE)

_NO_DATA = (-9999.0, -99999.0, -32767.0, -32768.0, float(-(2**31)))
_HUGE = 1e30  # marks of floating point formats: 1e30, 9.97e36, 3.4e38
_TAIL = 0.001
_SAMPLES = 1_000_000
_BAND = 4_000_000


@dataclass(frozen=True)
class Deep:
    """Values of more than 8 bits.

    Attributes:
        values: (H, W) or (H, W, 3), integers or floats.
        bits: of a value, for the reader.
        no_data: the value by which the file marks pixels without one.
        white_is_low: whether the lowest value is white.
    """

    values: Values
    bits: str
    no_data: float | None = None
    white_is_low: bool = False


def to_bytes(deep: Deep, chosen: Range | None = None) -> tuple[Bytes, str]:
    """Scale to bytes.

    Args:
        deep: the picture.
        chosen: the values that become black and white; None for `auto`.

    Returns:
        uint8 of the same shape (no data is black), and a sentence that states the range.

    Raises:
        ImageError: no pixel has a value, or all are darker than `chosen`, or all lighter.
    """
    if chosen is not None:
        _require_values(deep, chosen)
    low, high = chosen or choose_range(deep)
    turned = ", dark and bright exchanged" if deep.white_is_low else ""
    said = f"has {deep.bits}: the range {low:g} to {high:g} was scaled to 8 bits{turned}"
    return _scaled(deep, low, high), said


def choose_range(deep: Deep) -> Range:
    """Choose a range as `auto` does. ImageError if no pixel has a value."""
    low, high = _used(deep)
    whites = WHOLE if deep.values.dtype.kind in "iu" else FLOAT
    for white in whites:
        if low >= 0 and high <= white:
            # Each white is a quarter of the next: what is left over is a narrow band high up.
            return (0.0, white) if high - low >= white / 4 else (low, high)
    return low, high


def _require_values(deep: Deep, chosen: Range) -> None:
    """ImageError if the picture would be all black or all white."""
    values = _sample(deep)
    least, most = values.min(), values.max()
    if most <= chosen[0] or least >= chosen[1]:
        raise ImageError(
            f"has values from {least:g} to {most:g}: none lies in the range {chosen[0]:g} to "
            f"{chosen[1]:g}"
        )


def _used(deep: Deep) -> Range:
    values = _without_lone_ends(np.sort(_sample(deep)))
    last = len(values) - 1
    low, high = values[math.ceil(_TAIL * last)], values[math.floor((1 - _TAIL) * last)]
    if low >= high:
        low, high = values[0], values[-1]
    return float(low), float(high)


def _sample(deep: Deep) -> npt.NDArray[np.float64]:
    """Take up to some _SAMPLES values. ImageError if there is none: every pixel is without data."""
    height, width = deep.values.shape[:2]
    step = math.ceil(math.sqrt(height * width / _SAMPLES))
    values: npt.NDArray[np.float64] = deep.values[::step, ::step].astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    values = values[np.abs(values) < _HUGE]
    marks = _NO_DATA if deep.no_data is None else (*_NO_DATA, deep.no_data)
    kept: npt.NDArray[np.float64] = values[~np.isin(values, marks)]
    if not len(kept):
        raise ImageError("holds no value: every pixel is NaN, infinite or marked as without data")
    return kept


def _without_lone_ends(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Drop a lowest or highest value that is farther from the rest than the rest is wide.

    Such a value marks pixels without data, however many they are.
    """
    for _ in range(2):
        distinct = np.unique(values)
        if len(distinct) > 3 and distinct[1] - distinct[0] > distinct[-1] - distinct[1]:
            values = values[values > distinct[0]]
        values = -values[::-1]  # the other end
    return values


def _scaled(deep: Deep, low: float, high: float) -> Bytes:
    """Scale in bands of rows, so that the floats between never fill the memory."""
    scale = 255.0 / ((high - low) or 1.0)
    scaled = np.empty(deep.values.shape, np.uint8)
    rows = max(1, _BAND // max(1, math.prod(deep.values.shape[1:])))
    for top in range(0, len(scaled), rows):
        values = deep.values[top : top + rows].astype(np.float64)
        empty = ~(np.abs(values) < _HUGE)
        if deep.no_data is not None:
            empty |= values == deep.no_data
        values[empty] = high if deep.white_is_low else low
        bright = np.rint(np.clip((values - low) * scale, 0, 255)).astype(np.uint8)
        scaled[top : top + rows] = 255 - bright if deep.white_is_low else bright
    return scaled
