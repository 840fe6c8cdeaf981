"""Reading and writing at computed places, and tensors made from numbers alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtimes.engines.mil.call import Call
from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.ops_elementwise import Operation
from runtimes.engines.mil.tensors import Array


def _indices(call: Call, size: int) -> Array:
    """Indices along an axis. Negative ones count from the end, but only before iOS 17.

    Later op sets (with a `validate_indices` argument) call them out of range and leave the result
    to the device. They are refused here, because two devices may differ.
    """
    indices = call["indices"]
    least = 0 if "validate_indices" in call else -size
    if indices.size and not (least <= indices.min() and indices.max() < size):
        raise MilError(
            f"{call.step.label}: indices {indices.min()}..{indices.max()} leave {least}..{size - 1}"
        )
    return indices.astype(np.intp)


def _gather(call: Call) -> Array:
    """Slices of x along `axis`; the first `batch_dims` axes of x and indices go together."""
    x, batch = call["x"], call.integer("batch_dims", 0)
    axis = call.integer("axis", 0) % x.ndim
    indices = _indices(call, x.shape[axis])
    if not batch:
        return np.take(x, indices, axis=axis)
    lead = x.shape[:batch]
    parts = [np.take(x[i], indices[i], axis=axis - batch) for i in np.ndindex(*lead)]
    return np.stack(parts).reshape(*lead, *parts[0].shape)


def _gather_along_axis(call: Call) -> Array:
    """Gather one index for each output, which keeps its place on all other axes."""
    x = call["x"]
    axis = call.integer("axis", 0)
    return np.take_along_axis(x, _indices(call, x.shape[axis]), axis)


def _gather_nd(call: Call) -> Array:
    """Gather by coordinates: `indices`' last axis counts along the axes after `batch_dims`."""
    x, indices = call["x"], call["indices"].astype(np.intp)
    batch = call.integer("batch_dims", 0)
    if not batch:
        return np.asarray(x[tuple(np.moveaxis(indices, -1, 0))])
    lead = x.shape[:batch]
    parts = [np.asarray(x[i][tuple(np.moveaxis(indices[i], -1, 0))]) for i in np.ndindex(*lead)]
    return np.stack(parts).reshape(*lead, *parts[0].shape)


def _write(call: Call, default: str) -> Callable[[Array, tuple[Array, ...], Array], None]:
    """Combine updates with old values; several at one place all count, except in `update`."""
    mode = call.text("mode", default)
    methods = {
        "add": np.add.at,
        "sub": np.subtract.at,
        "mul": np.multiply.at,
        "div": np.divide.at,
        "max": np.maximum.at,
        "min": np.minimum.at,
        "update": _assign,
    }
    if mode not in methods:
        raise MilError(f"{call.step.label}: mode '{mode}' is none of {sorted(methods)}")
    return methods[mode]


def _assign(out: Array, where: tuple[Array, ...], updates: Array) -> None:
    out[where] = updates


def _scatter(call: Call) -> Array:
    """Updates to whole slices along `axis`."""
    out = np.array(call["data"], order="C")
    axis = call.integer("axis", 0) % out.ndim
    indices = _indices(call, out.shape[axis]).reshape(-1)
    moved = np.moveaxis(out, axis, 0)
    _write(call, "add")(moved, (indices,), np.moveaxis(call["updates"], axis, 0))
    return out


def _scatter_along_axis(call: Call) -> Array:
    """Put each update at its index along `axis`; it keeps its place on all other axes."""
    out = np.array(call["data"], order="C")
    axis = call.integer("axis", 0) % out.ndim
    indices = _indices(call, out.shape[axis])
    where = list(np.ix_(*(np.arange(n) for n in indices.shape)))
    where[axis] = indices
    _write(call, "add")(out, tuple(where), call["updates"])
    return out


def _scatter_nd(call: Call) -> Array:
    """Updates at coordinates: the last axis of `indices`."""
    out = np.array(call["data"], order="C")
    where = tuple(np.moveaxis(call["indices"].astype(np.intp), -1, 0))
    _write(call, "add")(out, where, call["updates"])
    return out


def _non_zero(call: Call) -> Array:
    """(found, rank): coordinates in row-major order."""
    return np.argwhere(call["x"])


def _fill(call: Call) -> Array:
    return np.full(call.integers("shape"), _value(call))


def _fill_like(call: Call) -> Array:
    return np.full(call["ref_tensor"].shape, _value(call))


def _value(call: Call) -> Array:
    value = call.get("value")
    return np.zeros((), np.float32) if value is None else value


def _range_1d(call: Call) -> Array:
    return np.arange(call["start"].item(), call["end"].item(), call["step"].item())


def _one_hot(call: Call) -> Array:
    """Add an axis of `one_hot_vector_size`; an index outside it, as a negative, sets nothing."""
    indices = call["indices"]
    on, off = call.get("on_value"), call.get("off_value")
    hits = indices[..., None] == np.arange(call.integer("one_hot_vector_size", 1))
    made = np.where(hits, 1 if on is None else on, 0 if off is None else off)
    axis = call.integer("axis", -1)
    return np.moveaxis(made, -1, axis)


OPERATIONS: dict[str, Operation] = {
    "fill": _fill,
    "fill_like": _fill_like,
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "non_zero": _non_zero,
    "one_hot": _one_hot,
    "range_1d": _range_1d,
    "scatter": _scatter,
    "scatter_along_axis": _scatter_along_axis,
    "scatter_nd": _scatter_nd,
}
EXACT = frozenset({"gather", "gather_along_axis", "gather_nd"})
