"""Activation functions; the long ones run in blocks so that intermediates stay in the cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtimes.engines.mil.call import Call
from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.ops_elementwise import Operation
from runtimes.engines.mil.parallel import for_blocks
from runtimes.engines.mil.tensors import Array

_BLOCK = 1 << 14
_SHARE = 1 << 18  # what one thread takes at a time

# erf(x / sqrt(2)) = tanh(x * P(x * x)), P fitted by us in float64 for |x| <= 5.6 (beyond, erf is 1
# in float32). Evaluated in float32 it is within 1.4e-7 of erf, and gelu within 6e-7 of its value,
# closer than torch's. It costs a seventh of scipy.special.erf: numpy's tanh is vectorised.
_ERF_LIMIT = np.float32(5.6)
_ERF_POLYNOMIAL = tuple(
    np.float32(c)
    for c in (
        1.7561736543160492e-09,
        -1.32263434519148e-07,
        3.964745491058196e-06,
        -5.530619892795608e-05,
        -3.259496462426603e-05,
        0.03633308456530154,
        0.7978849414620558,
    )
)


def normal_erf(x: Array, out: Array, scratch: Array) -> None:
    """`out` = erf(x / sqrt(2)). All three are float32 of one shape; `out` is not `x`."""
    np.clip(x, -_ERF_LIMIT, _ERF_LIMIT, out=out)
    square = np.multiply(out, out, out=scratch)
    total = np.full_like(square, _ERF_POLYNOMIAL[0])
    for coefficient in _ERF_POLYNOMIAL[1:]:
        total *= square
        total += coefficient
    out *= total
    np.tanh(out, out=out)


def _blockwise(function: Callable[[Array, Array, Array], None]) -> Operation:
    """Run `function(x, out, scratch)` block by block; `out` is a separate block, never `x`."""

    def share(source: Array, target: Array) -> None:
        out, scratch = np.empty((2, min(_BLOCK, source.size)), np.float32)
        for start in range(0, source.size, _BLOCK):
            block = source[start : start + _BLOCK]
            function(block, out[: block.size], scratch[: block.size])
            target[start : start + _BLOCK] = out[: block.size]

    def run(call: Call) -> Array:
        x = np.ascontiguousarray(call["x"])
        result = call.fresh(x.shape, "x")
        source, target = x.reshape(-1), result.reshape(-1)
        for_blocks(source.size, _SHARE, lambda part: share(source[part], target[part]))
        return result

    return run


def _erf(x: Array, out: Array, scratch: Array) -> None:
    np.multiply(x, np.float32(np.sqrt(2.0)), out=scratch)
    normal_erf(scratch.copy(), out, scratch)


def _gelu_exact(x: Array, out: Array, scratch: Array) -> None:
    normal_erf(x, out, scratch)
    _gate(x, out)


def _gelu_tanh(x: Array, out: Array, scratch: Array) -> None:
    np.multiply(x, x, out=out)
    out *= np.float32(0.044715)
    out += np.float32(1)
    out *= np.multiply(x, np.float32(np.sqrt(2 / np.pi)), out=scratch)
    np.tanh(out, out=out)
    _gate(x, out)


def _gate(x: Array, out: Array) -> None:
    """`out` in -1..1 -> x * (1 + out) / 2."""
    out += np.float32(1)
    out *= np.float32(0.5)
    out *= x


def _sigmoid(x: Array, out: Array, scratch: Array) -> None:
    """1 / (1 + exp(-x)); exp overflows to infinity for very negative x, which gives the right 0."""
    np.negative(x, out=scratch)
    np.exp(scratch, out=scratch)
    scratch += np.float32(1)
    np.divide(np.float32(1), scratch, out=out)


def _gelu_sigmoid(x: Array, out: Array, scratch: Array) -> None:
    np.multiply(x, np.float32(1.702), out=out)
    _sigmoid(out, out, scratch)
    out *= x


def _silu(x: Array, out: Array, scratch: Array) -> None:
    _sigmoid(x, out, scratch)
    out *= x


def _softplus(x: Array, out: Array, scratch: Array) -> None:
    """log(1 + exp(x)) without overflow: max(x, 0) + log(1 + exp(-|x|))."""
    np.absolute(x, out=scratch)
    np.negative(scratch, out=scratch)
    np.log1p(np.exp(scratch, out=scratch), out=out)
    out += np.maximum(x, np.float32(0), out=scratch)


def _tanh(x: Array, out: Array, scratch: Array) -> None:
    del scratch
    np.tanh(x, out=out)


_GELU = {
    "EXACT": _blockwise(_gelu_exact),
    "TANH_APPROXIMATION": _blockwise(_gelu_tanh),
    "SIGMOID_APPROXIMATION": _blockwise(_gelu_sigmoid),
}


def _gelu(call: Call) -> Array | tuple[Array, ...]:
    mode = call.text("mode", "EXACT")
    if mode not in _GELU:
        raise MilError(f"{call.step.label}: mode '{mode}' is none of {sorted(_GELU)}")
    return _GELU[mode](call)


def _relu(call: Call) -> Array:
    x = call["x"]
    return np.maximum(x, np.float32(0), out=call.fresh(x.shape, "x"))


def _relu6(call: Call) -> Array:
    x = call["x"]
    return np.clip(x, np.float32(0), np.float32(6), out=call.fresh(x.shape, "x"))


def _clamped_relu(call: Call) -> Array:
    x = call["x"]
    return np.asarray(np.minimum(np.where(x >= 0, x, call["alpha"] * x), call["beta"]))


def _leaky_relu(call: Call) -> Array:
    x = call["x"]
    return np.where(x >= 0, x, call["alpha"] * x)


def _prelu(call: Call) -> Array:
    """Apply one slope to each channel, axis 1."""
    x = call["x"]
    slope = call["alpha"].reshape(-1, *[1] * (x.ndim - 2))
    return np.where(x > 0, x, slope * x)


def _elu(call: Call) -> Array:
    x = call["x"]
    return np.where(x > 0, x, call["alpha"] * np.expm1(np.minimum(x, np.float32(0))))


def _sigmoid_hard(call: Call) -> Array:
    """min(max(alpha * x + beta, 0), 1)."""
    line = call["x"] * call["alpha"] + call["beta"]
    return np.clip(line, np.float32(0), np.float32(1), out=line)


def _linear_activation(call: Call) -> Array:
    return np.asarray(call["x"] * call["alpha"] + call["beta"])


def _softsign(call: Call) -> Array:
    x = call["x"]
    return np.asarray(x / (np.float32(1) + np.absolute(x)))


OPERATIONS: dict[str, Operation] = {
    "clamped_relu": _clamped_relu,
    "elu": _elu,
    "erf": _blockwise(_erf),
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "linear_activation": _linear_activation,
    "prelu": _prelu,
    "relu": _relu,
    "relu6": _relu6,
    "sigmoid": _blockwise(_sigmoid),
    "sigmoid_hard": _sigmoid_hard,
    "silu": _blockwise(_silu),
    "softplus": _blockwise(_softplus),
    "softsign": _softsign,
    "tanh": _blockwise(_tanh),
}
EXACT = frozenset({"relu", "relu6"})
