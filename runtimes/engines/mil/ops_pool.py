"""Pooling."""

from __future__ import annotations

import numpy as np

from runtimes.engines.mil.call import Call
from runtimes.engines.mil.ops_elementwise import Operation
from runtimes.engines.mil.tensors import Array
from runtimes.engines.mil.windows import Window, pad_spatial, read_window


def _geometry(call: Call) -> tuple[Window, tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Compute the window, output sizes, and padding, longer for `ceil_mode`'s last window."""
    x = call["x"]
    window = read_window(call, x.shape[2:], call.integers("kernel_sizes"))
    counts = window.out_sizes(x.shape[2:], ceil=call.flag("ceil_mode"))
    pads = []
    for axis, (before, after) in enumerate(window.pads):
        needed = (counts[axis] - 1) * window.strides[axis] + window.reach(axis)
        pads.append((before, max(after, needed - before - x.shape[2 + axis])))
    return window, counts, tuple(pads)


def _max_pool(call: Call) -> Array:
    """Padding never wins."""
    window, counts, pads = _geometry(call)
    padded = pad_spatial(call["x"], pads, -np.inf)
    out = np.full((*padded.shape[:2], *counts), -np.inf, np.float32)
    for _, view in window.taps(padded, counts):
        np.maximum(out, view, out=out)
    return out


def _sum_pool(call: Call, x: Array) -> Array:
    window, counts, pads = _geometry(call)
    padded = pad_spatial(x, pads)
    out = np.zeros((*padded.shape[:2], *counts), np.float32)
    for _, view in window.taps(padded, counts):
        out += view
    return out


def _avg_pool(call: Call) -> Array:
    """Divide by the places of the window inside the input and, unless excluded, its padding.

    Places that `ceil_mode` adds after the padding never count, as in torch.
    """
    x = call["x"]
    window, counts, pads = _geometry(call)
    counted = np.ones((1, 1, *x.shape[2:]), np.float32)
    if not call.flag("exclude_padding_from_average"):
        counted = pad_spatial(counted, window.pads, 1.0)
        extra = [(0, b - a) for (_, a), (_, b) in zip(window.pads, pads, strict=True)]
    else:
        extra = list(pads)
    counted = pad_spatial(counted, extra)
    size = sum(view for _, view in window.taps(counted, counts))
    return np.asarray(_sum_pool(call, x) / size)


def _l2_pool(call: Call) -> Array:
    """Take the root of the sum of squares."""
    return np.sqrt(_sum_pool(call, np.square(call["x"])))


OPERATIONS: dict[str, Operation] = {
    "avg_pool": _avg_pool,
    "l2_pool": _l2_pool,
    "max_pool": _max_pool,
}
EXACT = frozenset({"max_pool"})
