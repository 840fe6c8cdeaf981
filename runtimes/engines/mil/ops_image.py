"""Resizing over the last two axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from runtimes.engines.mil.call import Call
from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.ops_elementwise import Operation
from runtimes.engines.mil.tensors import Array

# (input size, output size) -> the place in the input, in pixels, of each output.
Grid = Callable[[int, int], Array]


def _corners(size: int, out: int) -> Array:
    """Align the first and last pixels of both: i * (in - 1) / (out - 1)."""
    return np.arange(out) * ((size - 1) / (out - 1) if out > 1 else 0.0)


def _corners_or_middle(size: int, out: int) -> Array:
    """As `_corners`, but a single output reads the middle."""
    return np.array([(size - 1) / 2]) if out == 1 else _corners(size, out)


def _half_pixels(size: int, out: int) -> Array:
    """Pixels are areas: (i + 0.5) * in / out - 0.5, as torch does without align_corners."""
    return (np.arange(out) + 0.5) * (size / out) - 0.5


def _plain(size: int, out: int) -> Array:
    """i * in / out."""
    return np.arange(out) * (size / out)


def _offset(size: int, out: int) -> Array:
    """Steps of delta = max(1, in - 1) / out, the first half a step in."""
    delta = max(1, size - 1) / out
    return (np.arange(out) + 0.5) * delta


_MODES: dict[str, Grid] = {
    "STRICT_ALIGN_CORNERS": _corners,
    "ALIGN_CORNERS": _corners_or_middle,
    "DEFAULT": _plain,
    "OFFSET_CORNERS": _offset,
    "UNALIGN_CORNERS": _half_pixels,
}


def _bilinear(x: Array, out_sizes: tuple[int, int], grid: Grid) -> Array:
    """Resize height, then width; places outside the input take its border."""
    for axis, out in zip((-2, -1), out_sizes, strict=True):
        size = x.shape[axis]
        places = np.clip(grid(size, out), 0, size - 1)
        low = np.floor(places).astype(np.intp)
        high = np.minimum(low + 1, size - 1)
        share = (places - low).astype(np.float32).reshape(-1, *[1] * (-axis - 1))
        start = np.take(x, low, axis=axis)
        step = np.take(x, high, axis=axis)
        step -= start
        step *= share
        start += step
        x = start
    return x


def _scaled_sizes(call: Call) -> tuple[int, int]:
    """floor(size * factor); torch's converter made the factor from out / in."""
    declared = call.step.outputs[0].kind.shape[-2:]
    sizes = []
    for index, name in enumerate(("scale_factor_height", "scale_factor_width")):
        known = declared[index]
        size = call["x"].shape[index - 2]
        sizes.append(math.floor(size * float(call.number(name, 1))) if known is None else known)
    return sizes[0], sizes[1]


def _upsample_bilinear(call: Call) -> Array:
    """`align_corners` is true unless given; half pixels are its opposite unless given."""
    align = "align_corners" not in call or call.flag("align_corners")
    half = call.flag("half_pixel_centers") if "half_pixel_centers" in call else not align
    grid = _corners if align else _half_pixels if half else _plain
    return _bilinear(call["x"], _scaled_sizes(call), grid)


def _target_sizes(call: Call) -> tuple[int, int]:
    return call.integer("target_size_height", 1), call.integer("target_size_width", 1)


def _resize_bilinear(call: Call) -> Array:
    mode = call.text("sampling_mode", "DEFAULT")
    if mode not in _MODES:
        raise MilError(f"{call.step.label}: sampling_mode '{mode}' is none of {sorted(_MODES)}")
    return _bilinear(call["x"], _target_sizes(call), _MODES[mode])


def _nearest(x: Array, out_sizes: tuple[int, int]) -> Array:
    """Output i reads input floor(i * in / out)."""
    rows, cols = (
        np.arange(out) * size // out for size, out in zip(x.shape[-2:], out_sizes, strict=True)
    )
    return x[..., rows[:, None], cols]


def _upsample_nearest(call: Call) -> Array:
    return _nearest(call["x"], _scaled_sizes(call))


def _resize_nearest(call: Call) -> Array:
    return _nearest(call["x"], _target_sizes(call))


OPERATIONS: dict[str, Operation] = {
    "resize_bilinear": _resize_bilinear,
    "resize_nearest_neighbor": _resize_nearest,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
}
EXACT = frozenset({"resize_nearest_neighbor", "upsample_nearest_neighbor"})
