"""Arrays between the canonical layout (images are NCHW) and a graph's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.tensors import TensorSpec

Array = npt.NDArray[Any]


def to_layout(canonical: Array, spec: TensorSpec) -> Array:
    """Convert a canonical array (images are NCHW) to the layout and dtype of a graph's spec.

    A `uint8` input takes rounded values: the host's resized pixels are already whole numbers, only
    the padding is not.
    """
    moved = canonical.transpose(0, 2, 3, 1) if _channels_last(spec, canonical) else canonical
    if np.issubdtype(np.dtype(spec.dtype), np.integer) and moved.dtype.kind == "f":
        moved = np.rint(moved)
    return np.ascontiguousarray(moved.astype(spec.dtype, copy=False))


def from_layout(array: Array, spec: TensorSpec) -> Array:
    """Convert a graph's output from its own layout to canonical, float32 if it is a float."""
    moved = array.transpose(0, 3, 1, 2) if _channels_last(spec, array) else array
    return np.asarray(moved, np.float32) if moved.dtype.kind == "f" else moved


def _channels_last(spec: TensorSpec, array: Array) -> bool:
    return spec.layout == "NHWC" and array.ndim == 4
