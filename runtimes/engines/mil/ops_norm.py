"""Normalisations."""

from __future__ import annotations

import math

import numpy as np

from runtimes.engines.mil.call import Call, rows_per_block
from runtimes.engines.mil.ops_elementwise import Operation
from runtimes.engines.mil.parallel import for_blocks
from runtimes.engines.mil.tensors import Array


def _layer_norm(call: Call) -> Array:
    """Normalise over `axes` (all if absent); gamma and beta have their shape."""
    x = call["x"]
    axes = sorted(a % x.ndim for a in call.integers("axes", range(x.ndim)))
    last = tuple(range(x.ndim - len(axes), x.ndim))
    moved = np.moveaxis(x, axes, last)
    width = math.prod(moved.shape[a] for a in last)
    direct = tuple(axes) == last and moved.flags.c_contiguous
    result = call.fresh(x.shape, "x") if direct else call.fresh(moved.shape)
    source = moved.reshape(-1, width)
    target = result.reshape(-1, width)
    gamma, beta = call.get("gamma"), call.get("beta")

    def work(block: slice) -> None:
        rows = target[block]
        _standardise(source[block], rows, call.number("epsilon", 1e-5))
        if gamma is not None:
            rows *= gamma.reshape(-1)
        if beta is not None:
            rows += beta.reshape(-1)

    for_blocks(len(source), rows_per_block(width), work)
    return np.moveaxis(result, last, axes)


def _standardise(rows: Array, out: Array, epsilon: np.float32) -> None:
    """Give each of (rows, width) zero mean and unit variance. `out` may be `rows`."""
    width = np.float32(rows.shape[-1])
    np.subtract(rows, rows.mean(axis=-1, keepdims=True), out=out)
    variance = np.einsum("rc,rc->r", out, out)[:, None] / width
    out *= np.float32(1) / np.sqrt(variance + epsilon)


def _instance_norm(call: Call) -> Array:
    """Normalise each channel of each sample over its spatial axes."""
    x = call["x"]
    out = np.empty((x.shape[0] * x.shape[1], math.prod(x.shape[2:])), np.float32)
    _standardise(np.ascontiguousarray(x).reshape(out.shape), out, call.number("epsilon", 1e-5))
    return _affine(call, out.reshape(x.shape))


def _batch_norm(call: Call) -> Array:
    """Normalise with given statistics, by channel (axis 1)."""
    x = call["x"]
    spread = np.sqrt(call["variance"] + call.number("epsilon", 1e-5))
    return _affine(call, (x - _by_channel(call["mean"], x)) / _by_channel(spread, x))


def _affine(call: Call, out: Array) -> Array:
    """Apply optional gamma and beta, in place."""
    gamma, beta = call.get("gamma"), call.get("beta")
    if gamma is not None:
        out *= _by_channel(gamma, out)
    if beta is not None:
        out += _by_channel(beta, out)
    return out


def _by_channel(values: Array, like: Array) -> Array:
    return values.reshape(-1, *[1] * (like.ndim - 2))


def _l2_norm(call: Call) -> Array:
    """Divide by the root of the sum of squares over the last three axes."""
    x = call["x"]
    total = np.square(x).sum(axis=(-3, -2, -1), keepdims=True)
    return np.asarray(x / np.sqrt(total + call.number("epsilon", 1e-6)))


OPERATIONS: dict[str, Operation] = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
}
EXACT: frozenset[str] = frozenset()
