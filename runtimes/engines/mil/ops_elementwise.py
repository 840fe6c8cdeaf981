"""Arithmetic, comparisons and logic, element by element with numpy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtimes.engines.mil.call import Call
from runtimes.engines.mil.tensors import SPELLINGS, Array, working_dtype

Operation = Callable[[Call], Array | tuple[Array, ...]]


def _unary(function: np.ufunc) -> Operation:
    def run(call: Call) -> Array:
        x = call["x"]
        if x.dtype != np.float32:
            return np.asarray(function(x))
        return np.asarray(function(x, out=call.fresh(x.shape, "x")))

    return run


def _binary(function: np.ufunc) -> Operation:
    def run(call: Call) -> Array:
        x, y = call["x"], call["y"]
        if x.dtype != np.float32 or y.dtype != np.float32:
            return np.asarray(function(x, y))
        shape = np.broadcast_shapes(x.shape, y.shape)
        return np.asarray(function(x, y, out=call.fresh(shape, "x", "y")))

    return run


def _compare(function: np.ufunc) -> Operation:
    def run(call: Call) -> Array:
        return np.asarray(function(call["x"], call["y"]))

    return run


def _real_div(call: Call) -> Array:
    """True division, of whole numbers too; truncated if the program declares an integer."""
    x, y = call["x"], call["y"]
    if x.dtype == np.float32 and y.dtype == np.float32:
        return _divide(call)  # type: ignore[return-value]
    return np.asarray(np.true_divide(x, y))


_divide = _binary(np.divide)


def _log(call: Call) -> Array:
    return np.asarray(np.log(call["x"] + call.number("epsilon", 1e-45)))


def _rsqrt(call: Call) -> Array:
    return np.asarray(np.float32(1) / np.sqrt(call["x"] + call.number("epsilon", 1e-12)))


def _inverse(call: Call) -> Array:
    return np.asarray(np.float32(1) / (call["x"] + call.number("epsilon", 1e-4)))


def _clip(call: Call) -> Array:
    x = call["x"]
    out = call.fresh(x.shape, "x")
    return np.asarray(np.clip(x, call["alpha"], call["beta"], out=out))


def _threshold(call: Call) -> Array:
    return np.maximum(call["x"], call["alpha"])


def _cast(call: Call) -> Array:
    """Truncate to integers; the float types differ only in the rounding that follows."""
    name = call.text("dtype")
    return call["x"].astype(working_dtype(SPELLINGS.get(name, name)))


def _select(call: Call) -> Array:
    return np.where(call["cond"], call["a"], call["b"])


def _identity(call: Call) -> Array:
    return call["x"]


OPERATIONS: dict[str, Operation] = {
    "abs": _unary(np.absolute),
    "acos": _unary(np.arccos),
    "add": _binary(np.add),
    "asin": _unary(np.arcsin),
    "atan": _unary(np.arctan),
    "cast": _cast,
    "ceil": _unary(np.ceil),
    "clip": _clip,
    "cos": _unary(np.cos),
    "equal": _compare(np.equal),
    "exp": _unary(np.exp),
    "exp2": _unary(np.exp2),
    "floor": _unary(np.floor),
    "floor_div": _binary(np.floor_divide),
    "greater": _compare(np.greater),
    "greater_equal": _compare(np.greater_equal),
    "identity": _identity,
    "inverse": _inverse,
    "less": _compare(np.less),
    "less_equal": _compare(np.less_equal),
    "log": _log,
    "logical_and": _compare(np.logical_and),
    "logical_not": _unary(np.logical_not),
    "logical_or": _compare(np.logical_or),
    "logical_xor": _compare(np.logical_xor),
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "mod": _binary(np.mod),
    "mul": _binary(np.multiply),
    "not_equal": _compare(np.not_equal),
    "pow": _binary(np.power),
    "real_div": _real_div,
    "round": _unary(np.rint),
    "rsqrt": _rsqrt,
    "select": _select,
    "sign": _unary(np.sign),
    "sin": _unary(np.sin),
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "sub": _binary(np.subtract),
    "tan": _unary(np.tan),
    "threshold": _threshold,
}
EXACT = frozenset({"abs", "clip", "identity", "maximum", "minimum", "select", "sign", "threshold"})
