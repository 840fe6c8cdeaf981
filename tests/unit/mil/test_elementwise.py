from __future__ import annotations

import numpy as np
import torch
from coremltools.converters.mil.mil import Builder as mb

from tests.unit.mil.building import case, compare, normal, parametrize, positive, whole

X, Y, P = normal(3, 4), normal(3, 4, seed=1), positive(3, 4)
WIDE = X * 4
ROW = normal(4, seed=2)
COUNT, DIVISOR = whole(3, 4), whole(3, 4, low=1, high=5, seed=1)
T = torch.from_numpy
HALVES = np.array([[-2.5, -1.5, -0.5, 0.5], [1.5, 2.5, 1.2, -1.7]], np.float32)


def _unary(name, function, x=X):
    return case(name, lambda a: getattr(mb, name)(x=a), x, function(T(x)))


def _binary(name, function, x=X, y=Y, note=""):
    return case(
        name, lambda a, b: getattr(mb, name)(x=a, y=b), [x, y], function(T(x), T(y)), note=note
    )


def _as_int(name):
    """Models cannot return booleans."""
    return lambda a, b: mb.cast(x=getattr(mb, name)(x=a, y=b), dtype="int32")


def _compare(name, function):
    tied = np.where(np.arange(12).reshape(3, 4) % 3 == 0, X, Y)
    return case(name, _as_int(name), [X, tied], function(T(X), T(tied)).int())


def _logic(name, function):
    def build(a, b):
        a, b = (mb.greater(x=v, y=np.float32(0)) for v in (a, b))
        return mb.cast(x=getattr(mb, name)(x=a, y=b), dtype="int32")

    return case(name, build, [X, Y], function(T(X) > 0, T(Y) > 0).int())


CASES = [
    _unary("abs", torch.abs),
    _unary("acos", torch.acos, np.tanh(X)),
    _unary("asin", torch.asin, np.tanh(X)),
    _unary("atan", torch.atan),
    _unary("ceil", torch.ceil),
    _unary("cos", torch.cos),
    _unary("exp", torch.exp),
    _unary("exp2", torch.exp2),
    _unary("floor", torch.floor),
    _unary("identity", lambda x: x),
    _unary("round", torch.round, HALVES),
    _unary("sign", torch.sign),
    _unary("sin", torch.sin),
    _unary("sqrt", torch.sqrt, P),
    _unary("square", torch.square),
    _unary("tan", torch.tan, np.tanh(X)),
    _unary("log", torch.log, P),
    _unary("rsqrt", torch.rsqrt, P),
    case(
        "rsqrt", lambda x: mb.rsqrt(x=x, epsilon=np.float32(1)), P * 0 + 3, P * 0 + 0.5, note="eps"
    ),
    case("log", lambda x: mb.log(x=x, epsilon=np.float32(1)), P * 0, P * 0, note="eps"),
    case("inverse", lambda x: mb.inverse(x=x, epsilon=np.float32(0)), P, torch.reciprocal(T(P))),
    case("inverse", lambda x: mb.inverse(x=x), P * 0, P * 0 + 1e4, note="default-eps"),
    case("clip", lambda x: mb.clip(x=x, alpha=-0.5, beta=0.7), X, torch.clamp(T(X), -0.5, 0.7)),
    case("threshold", lambda x: mb.threshold(x=x, alpha=0.3), X, torch.clamp(T(X), min=0.3)),
    _binary("add", torch.add),
    _binary("add", torch.add, X, ROW, note="broadcast"),
    _binary("add", torch.add, COUNT, DIVISOR, note="int"),
    _binary("sub", torch.sub),
    _binary("mul", torch.mul),
    _binary("maximum", torch.maximum),
    _binary("minimum", torch.minimum),
    _binary("pow", torch.pow, P, Y),
    _binary("real_div", torch.div),
    _binary("floor_div", torch.floor_divide),
    _binary("floor_div", torch.floor_divide, COUNT, DIVISOR, note="int"),
    _binary("mod", torch.remainder),
    _binary("mod", torch.remainder, COUNT, DIVISOR, note="int"),
    _compare("equal", torch.eq),
    _compare("not_equal", torch.ne),
    _compare("greater", torch.gt),
    _compare("greater_equal", torch.ge),
    _compare("less", torch.lt),
    _compare("less_equal", torch.le),
    _logic("logical_and", torch.logical_and),
    _logic("logical_or", torch.logical_or),
    _logic("logical_xor", torch.logical_xor),
    case(
        "logical_not",
        lambda a: mb.cast(x=mb.logical_not(x=mb.greater(x=a, y=np.float32(0))), dtype="int32"),
        X,
        torch.logical_not(T(X) > 0).int(),
    ),
    case("cast", lambda a: mb.cast(x=a, dtype="int32"), HALVES, [[-2, -1, 0, 0], [1, 2, 1, -1]]),
    case(
        "cast",
        lambda a: mb.cast(x=mb.cast(x=a, dtype="uint8"), dtype="int32"),
        np.array([0.0, 3.9, 255.0], np.float32),
        [0, 3, 255],
        opset="iOS17",
        note="uint8",
    ),
    case(
        "select",
        lambda a, b: mb.select(cond=mb.greater(x=a, y=b), a=a, b=b),
        [X, Y],
        torch.where(T(X) > T(Y), T(X), T(Y)),
    ),
]


@parametrize(CASES)
def test_operation(each, results):
    compare(each, results[each.name])
