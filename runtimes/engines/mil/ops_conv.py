"""Convolutions as matrix products, depthwise ones as shifted multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from runtimes.engines.mil.call import Call, rows_per_block
from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.ops_elementwise import Operation
from runtimes.engines.mil.ops_linear import rows_of_product
from runtimes.engines.mil.parallel import for_blocks
from runtimes.engines.mil.tensors import Array
from runtimes.engines.mil.windows import Window, pad_spatial, read_window

# Elements of the unrolled input held at a time: 2 MB.
_UNROLLED = 1 << 19


def _conv(call: Call) -> Array:
    """x (B, I, ...), weight (O, I / groups, *kernel), bias (O); one to three spatial axes."""
    x, weight = call["x"], call["weight"]
    groups = call.integer("groups", 1)
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise MilError(f"{call.step.label}: weight {weight.shape} and input {x.shape} do not fit")
    window = read_window(call, x.shape[2:], weight.shape[2:])
    counts = window.out_sizes(x.shape[2:])
    out = call.fresh((x.shape[0], weight.shape[0], *counts))
    if weight.shape[1] == 1 and groups > 1:
        _depthwise(x, weight, window, out)
    else:
        inner, outer = x.shape[1] // groups, weight.shape[0] // groups
        for group in range(groups):
            into = slice(group * outer, (group + 1) * outer)
            part = x[:, group * inner : (group + 1) * inner]
            _dense(part, weight[into], window, out[:, into])
    return _with_bias(call, out)


def _with_bias(call: Call, out: Array) -> Array:
    bias = call.get("bias")
    if bias is not None:
        out += bias.reshape(-1, *[1] * (out.ndim - 2))
    return out


def _dense(x: Array, weight: Array, window: Window, out: Array) -> None:
    """Unroll the windows of a few output rows into columns, then multiply them at once."""
    matrix = np.ascontiguousarray(weight).reshape(weight.shape[0], -1)
    padded = pad_spatial(x, window.pads)
    for sample in range(x.shape[0]):
        if window.is_pointwise:
            _pointwise(padded[sample], matrix, out[sample])
        else:
            _multiply_unrolled(padded[sample], matrix, window, out[sample])


def _pointwise(x: Array, matrix: Array, out: Array) -> None:
    columns = np.ascontiguousarray(x).reshape(x.shape[0], -1)
    joined = out.flags.c_contiguous
    product = (
        out.reshape(len(out), -1) if joined else np.empty((len(out), columns.shape[1]), np.float32)
    )

    def work(block: slice) -> None:
        np.matmul(matrix, columns[:, block], out=product[:, block])

    for_blocks(columns.shape[1], rows_of_product(matrix), work)
    if not joined:
        out[...] = product.reshape(out.shape)


def _multiply_unrolled(x: Array, matrix: Array, window: Window, out: Array) -> None:
    counts = out.shape[1:]
    step = max(1, _UNROLLED // max(1, matrix.shape[1] * math.prod(counts[1:])))

    def work(rows: slice) -> None:
        part = (rows.stop - rows.start, *counts[1:])
        columns = _unroll(x[:, rows.start * window.strides[0] :], window, part)
        out[:, rows] = (matrix @ columns).reshape(-1, *part)

    for_blocks(counts[0], step, work)


def _unroll(x: Array, window: Window, counts: Sequence[int]) -> Array:
    """(I, ...) -> (I * taps, outputs), taps in the order of the weight's elements."""
    columns = np.empty((x.shape[0], math.prod(window.kernel), *counts), np.float32)
    for index, (_, view) in enumerate(window.taps(x, counts)):
        columns[:, index] = view
    return columns.reshape(-1, math.prod(counts))


def _depthwise(x: Array, weight: Array, window: Window, out: Array) -> None:
    """Compute `O / I` outputs from each input channel: weighted sums of shifted copies of it.

    A few channels at a time, so that sum and product stay in the cache over all taps.
    """
    per_input = weight.shape[0] // x.shape[1]
    counts = out.shape[2:]

    def work(inputs: slice, sample: int) -> None:
        padded = pad_spatial(x[sample : sample + 1, inputs], window.pads)[0]
        for which in range(per_input):
            channels = slice(inputs.start * per_input + which, inputs.stop * per_input, per_input)
            out[sample, channels] = _tap_sum(padded, weight[channels, 0], window, counts)

    for sample in range(x.shape[0]):
        step = rows_per_block(math.prod(counts), 1 << 16)
        for_blocks(x.shape[1], step, partial(work, sample=sample))


def _tap_sum(x: Array, kernels: Array, window: Window, counts: Sequence[int]) -> Array:
    """(C, ...) with one kernel for each channel."""
    total = np.zeros((x.shape[0], *counts), np.float32)
    product = np.empty_like(total)
    for tap, view in window.taps(x, counts):
        factors = _tap(kernels, tap, 1).reshape(-1, *[1] * len(counts))
        total += np.multiply(view, factors, out=product)
    return total


def _tap(weight: Array, tap: tuple[int, ...], lead: int) -> Array:
    """Take one kernel position of a weight with `lead` axes before the kernel's."""
    index: list[Any] = [*[slice(None)] * lead, *tap]
    return np.asarray(weight[tuple(index)])


def _conv_transpose(call: Call) -> Array:
    """Weight (I, O / groups, *kernel). Every input adds its kernel, scaled, at its stride's place.

    `pad` cuts that many rows off each side of the full result; `output_shape` and `same` give the
    size instead, and the excess is cut evenly, an odd row at the end.
    """
    x, weight = call["x"], call["weight"]
    groups = call.integer("groups", 1)
    ones = [1] * (x.ndim - 2)
    kernel = weight.shape[2:]
    strides, dilations = call.integers("strides", ones), call.integers("dilations", ones)
    window = Window(tuple(kernel), tuple(strides), tuple(dilations), ((0, 0),) * len(ones))
    full = [
        (n - 1) * s + window.reach(a)
        for a, (n, s) in enumerate(zip(x.shape[2:], strides, strict=True))
    ]
    whole = np.zeros((x.shape[0], weight.shape[1] * groups, *full), np.float32)
    inner = x.shape[1] // groups
    for group in range(groups):
        channels = slice(group * inner, (group + 1) * inner)
        into = whole[:, group * weight.shape[1] : (group + 1) * weight.shape[1]]
        _spread(x[:, channels], weight[channels], window, into)
    cuts = _cuts(call, x.shape[2:], strides, full)
    return _with_bias(call, np.ascontiguousarray(whole[cuts]))


def _spread(x: Array, weight: Array, window: Window, out: Array) -> None:
    columns = np.ascontiguousarray(x).reshape(*x.shape[:2], -1)
    for tap in np.ndindex(*window.kernel):
        matrix = _tap(weight, tap, 2).T
        product = np.matmul(matrix, columns).reshape(*out.shape[:2], *x.shape[2:])
        out[window.places(tap, x.shape[2:])] += product


def _cuts(
    call: Call, sizes: Sequence[int], strides: Sequence[int], full: Sequence[int]
) -> tuple[Any, ...]:
    """Find the part of the full result to keep along each spatial axis."""
    if "output_shape" in call:
        wanted = call.integers("output_shape")[2:]
    elif call.text("pad_type", "valid") == "same":
        wanted = [n * s for n, s in zip(sizes, strides, strict=True)]
    else:
        wanted = []
    pads = call.integers("pad", [0] * (2 * len(full)))
    if wanted and not any(pads):
        starts = [(have - want) // 2 for have, want in zip(full, wanted, strict=True)]
    else:
        starts = pads[::2]
    ends = (
        [start + want for start, want in zip(starts, wanted, strict=True)]
        if wanted
        else [have - after for have, after in zip(full, pads[1::2], strict=True)]
    )
    return (..., *(slice(start, end) for start, end in zip(starts, ends, strict=True)))


OPERATIONS: dict[str, Operation] = {"conv": _conv, "conv_transpose": _conv_transpose}
EXACT: frozenset[str] = frozenset()
