"""scikit-image's cubic resize, in numpy: a Gaussian if the picture shrinks, then a cubic spline.

`skimage.transform.resize(picture, size, order=3, preserve_range=True, anti_aliasing=True)`, cut to
bytes as `.astype(numpy.uint8)` does. An axis at a time: a Gaussian of sigma (old / new - 1) / 2,
cut off at 4 sigma; the coefficients of the interpolating cubic B-spline (one pole, forwards and
back); the spline at places with half-pixel centres. Edges are mirrored at the outermost pixel's
centre. In flat parts the published sums miss a whole number by rounding, and a level is lost by
chance; here they are that number.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_POLE = math.sqrt(3.0) - 2.0
_GAIN = 6.0  # (1 - pole) * (1 - 1 / pole)
_CUT = 1.0 / 4096
"""Added before the fractions are cut off: what is a whole number but for rounding stays that."""
_BAND = 256


def spline_cubic(rgb: Bytes, width: int, height: int) -> Floats:
    """(H, W, 3) -> (height, width, 3), whole numbers within the range of the picture."""
    rows = len(rgb)
    wide = np.empty((rows, width, 3), np.float32)
    for top in range(0, rows, _BAND):
        band = rgb[top : top + _BAND].transpose(1, 0, 2).astype(np.float64)
        wide[top : top + _BAND] = _resized(band, width).transpose(1, 0, 2)
    out = np.empty((height, width, 3), np.float64)
    for left in range(0, width, _BAND):
        band = wide[:, left : left + _BAND].astype(np.float64)
        out[:, left : left + _BAND] = _resized(band, height)
    clipped = np.clip(out, float(rgb.min()), float(rgb.max()))
    return np.floor(clipped + _CUT).astype(np.float32)


def _resized(lines: Doubles, new: int) -> Doubles:
    """(n, ...) -> (new, ...)."""
    old = len(lines)
    coefficients = _coefficients(_smoothed(lines, (old / new - 1) / 2))
    position = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(position).astype(np.int64)
    weights = _weights((position - first).reshape(-1, *(1,) * (lines.ndim - 1)))
    taps = (coefficients[_mirrored(first + at, old)] for at in range(-1, 3))
    total = np.zeros((new, *lines.shape[1:]))
    for weight, tap in zip(weights, taps, strict=True):
        total += weight * tap
    return total


def _weights(t: Doubles) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Of the cubic B-spline, for the four places around one that is t after the second."""
    u = 1 - t
    return (
        u * u * u / 6,
        (4 + t * t * (3 * t - 6)) / 6,
        (4 + u * u * (3 * u - 6)) / 6,
        t * t * t / 6,
    )


def _smoothed(lines: Doubles, sigma: float) -> Doubles:
    radius = int(4 * sigma + 0.5) if sigma > 0 else 0
    if radius == 0:
        return lines
    kernel = [math.exp(-0.5 * at * at / (sigma * sigma)) for at in range(-radius, radius + 1)]
    total = sum(kernel)
    places = np.arange(len(lines))
    out = np.zeros_like(lines)
    for at, weight in zip(range(-radius, radius + 1), kernel, strict=True):
        out += lines[_mirrored(places + at, len(lines))] * (weight / total)
    return out


def _coefficients(lines: Doubles) -> Doubles:
    """Filter values into the coefficients of the spline that goes through them."""
    old = len(lines)
    if old == 1:
        return lines
    held = lines * _GAIN
    start = held[0].copy()
    for at in range(1, old - 1):
        start += (_POLE**at + _POLE ** (2 * old - 2 - at)) * held[at]
    start += _POLE ** (old - 1) * held[old - 1]
    held[0] = start / (1 - _POLE ** (2 * old - 2))
    for at in range(1, old):
        held[at] += _POLE * held[at - 1]
    held[old - 1] = (_POLE / (_POLE * _POLE - 1)) * (held[old - 1] + _POLE * held[old - 2])
    for at in range(old - 2, -1, -1):
        held[at] = _POLE * (held[at + 1] - held[at])
    return held


def _mirrored(places: npt.NDArray[np.int64], old: int) -> npt.NDArray[np.int64]:
    if old == 1:
        return np.zeros_like(places)
    period = 2 * old - 2
    folded = places % period
    return np.minimum(folded, period - folded)
