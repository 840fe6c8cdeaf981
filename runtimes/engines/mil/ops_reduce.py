"""Reductions, sorting and searching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from runtimes.engines.mil.call import Call
from runtimes.engines.mil.ops_elementwise import Operation
from runtimes.engines.mil.tensors import Array


def _over_axes(function: Callable[..., Any]) -> Operation:
    """Apply `function(x, axis=, keepdims=)` over `axes`, all of them if absent."""

    def run(call: Call) -> Array:
        axes = tuple(call.integers("axes")) if "axes" in call else None
        return np.asarray(function(call["x"], axis=axes, keepdims=call.flag("keep_dims")))

    return run


def _sum_square(x: Array, **where: Any) -> Any:
    return np.square(x).sum(**where)


def _l1(x: Array, **where: Any) -> Any:
    return np.absolute(x).sum(**where)


def _l2(x: Array, **where: Any) -> Any:
    return np.sqrt(np.square(x).sum(**where))


def _log_sum(x: Array, **where: Any) -> Any:
    return np.log(x.sum(**where))


def _log_sum_exp(x: Array, *, axis: tuple[int, ...] | None, keepdims: bool) -> Any:
    """Subtract the maximum first, so that no exponential overflows."""
    peak = x.max(axis=axis, keepdims=True)
    total = np.log(np.exp(x - peak).sum(axis=axis, keepdims=True)) + peak
    return total if keepdims else total.squeeze(axis=axis)


def _arg(function: Callable[..., Any]) -> Operation:
    """Index of the first extreme value along `axis`; Core ML promises nothing about ties."""

    def run(call: Call) -> Array:
        axis = call.integer("axis", -1)
        return np.asarray(function(call["x"], axis=axis, keepdims=call.flag("keep_dims")))

    return run


def _order(x: Array, axis: int, ascending: bool) -> Array:  # noqa: FBT001
    """Indices that sort along `axis`; equal values stay in order either way."""
    if not ascending:
        flipped = np.flip(x, axis)
        order = np.flip(np.argsort(flipped, axis=axis, kind="stable"), axis)
        return np.asarray(x.shape[axis] - 1 - order)
    return np.asarray(np.argsort(x, axis=axis, kind="stable"))


def _argsort(call: Call) -> Array:
    return _order(call["x"], call.integer("axis", -1), call.flag("ascending"))


def _topk(call: Call) -> tuple[Array, ...] | Array:
    """Find the k largest (or smallest) with their indices, sorted; k = -1 is all of them."""
    x, axis, k = call["x"], call.integer("axis", -1), call.integer("k", 1)
    order = _order(x, axis, call.flag("ascending"))
    order = np.take(order, range(x.shape[axis] if k < 0 else k), axis=axis)
    values = np.take_along_axis(x, order, axis)
    return (values, order) if len(call.step.outputs) > 1 else values


def _cumsum(call: Call) -> Array:
    """Running sum; `exclusive` leaves out each element itself, `reverse` runs from the end."""
    x, axis = call["x"], call.integer("axis", 0)
    ordered = np.flip(x, axis) if call.flag("reverse") else x
    total = np.cumsum(ordered, axis=axis, dtype=x.dtype)
    if call.flag("exclusive"):
        total = total - ordered
    return np.flip(total, axis) if call.flag("reverse") else total


OPERATIONS: dict[str, Operation] = {
    "argsort": _argsort,
    "cumsum": _cumsum,
    "reduce_argmax": _arg(np.argmax),
    "reduce_argmin": _arg(np.argmin),
    "reduce_l1_norm": _over_axes(_l1),
    "reduce_l2_norm": _over_axes(_l2),
    "reduce_log_sum": _over_axes(_log_sum),
    "reduce_log_sum_exp": _over_axes(_log_sum_exp),
    "reduce_max": _over_axes(np.max),
    "reduce_mean": _over_axes(np.mean),
    "reduce_min": _over_axes(np.min),
    "reduce_prod": _over_axes(np.prod),
    "reduce_sum": _over_axes(np.sum),
    "reduce_sum_square": _over_axes(_sum_square),
    "topk": _topk,
}
EXACT = frozenset({"reduce_max", "reduce_min", "topk"})
