"""Matrix products and attention; the work of a transformer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from runtimes.engines.mil.call import Call, flat_rows, rows_per_block
from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.ops_elementwise import Operation
from runtimes.engines.mil.parallel import for_blocks
from runtimes.engines.mil.tensors import Array

# Logits held at a time by attention: 1 MB, so that softmax finds them in the cache.
_LOGITS = 1 << 18
# Multiplications one thread does at a time.
_PRODUCT = 1 << 27


def _linear(call: Call) -> Array:
    """`x @ weight.T + bias`, weight (out, in); one matrix product over all leading axes."""
    x, weight, bias = call["x"], call["weight"], call.get("bias")
    rows, matrix = flat_rows(np.ascontiguousarray(x)), weight.T
    product = call.fresh((len(rows), weight.shape[0]))

    def work(block: slice) -> None:
        part = np.matmul(rows[block], matrix, out=product[block])
        if bias is not None:
            part += bias

    for_blocks(len(rows), rows_of_product(matrix), work)
    return product.reshape(*x.shape[:-1], weight.shape[0])


def rows_of_product(matrix: Array) -> int:
    """Count the rows to multiply by a matrix at a time: about ten milliseconds of work."""
    return max(512, _PRODUCT // max(1, matrix.size))


def _matmul(call: Call) -> Array:
    """Batched product; a transpose swaps the last two axes and leaves a vector alone."""
    x, y = call["x"], call["y"]
    if call.flag("transpose_x") and x.ndim > 1:
        x = x.swapaxes(-1, -2)
    if call.flag("transpose_y") and y.ndim > 1:
        y = y.swapaxes(-1, -2)
    if min(x.ndim, y.ndim) < 2 or x.dtype != np.float32:
        return np.asarray(np.matmul(x, y))
    if max(x.ndim, y.ndim) == 2:
        return np.matmul(x, y, out=call.fresh((len(x), y.shape[1])))
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    out = call.fresh((*lead, x.shape[-2], y.shape[-1]))
    axis = int(np.argmax(lead)) - out.ndim  # from the end, where x and y agree with the result
    step = max(1, _PRODUCT // max(1, out.size // out.shape[axis] * x.shape[-1]))

    def work(block: slice) -> None:
        np.matmul(_part(x, axis, block), _part(y, axis, block), out=_part(out, axis, block))

    for_blocks(out.shape[axis], step, work)
    return out


def _part(array: Array, axis: int, block: slice) -> Array:
    """Cut a block along an axis counted from the end; take all of one that is broadcast."""
    if array.ndim < -axis or array.shape[axis] == 1:
        return array
    index: list[Any] = [..., block, *[slice(None)] * (-axis - 1)]
    return np.asarray(array[tuple(index)])


def _einsum(call: Call) -> Array:
    """Any two-operand equation; `optimize` turns contractions into matrix products."""
    equation = call.text("equation")
    return np.asarray(np.einsum(equation, *call.many("values"), optimize=True))


def softmax_rows(rows: Array) -> None:
    """Softmax over the last axis, in place."""
    rows -= rows.max(axis=-1, keepdims=True)
    np.exp(rows, out=rows)
    rows /= rows.sum(axis=-1, keepdims=True)


def _softmax(call: Call) -> Array:
    axis = call.integer("axis", -1)
    moved = np.moveaxis(call["x"], axis, -1)
    if moved.shape == call["x"].shape and moved.flags.c_contiguous:
        result = call.fresh(moved.shape, "x")
        if result is not call["x"]:
            np.copyto(result, moved)
    else:
        result = call.fresh(moved.shape)
        np.copyto(result, moved)
    rows = flat_rows(result)
    step = rows_per_block(rows.shape[-1])
    for_blocks(len(rows), step, lambda block: softmax_rows(rows[block]))
    return np.moveaxis(result, -1, axis)


def _attention(call: Call) -> Array:
    """softmax(q @ k.T / sqrt(width) + mask) @ v.

    A boolean mask keeps logits where it is true, a numeric one is added. Logits exist only for a
    few matrices, or a few rows of one, at a time: SAM's 12 x 4096 x 4096 would take 800 MB.
    """
    query, key, value = call["query"], call["key"], call["value"]
    lead = query.shape[:-2]
    mask = _additive_mask(call, (*lead, query.shape[-2], key.shape[-2]))
    q, k, v = (t.reshape(math.prod(lead), *t.shape[-2:]) for t in (query, key, value))
    q = q * np.float32(1 / math.sqrt(q.shape[-1]))
    out = call.fresh((*q.shape[:-1], v.shape[-1]))
    tokens, keys = q.shape[-2], k.shape[-2]
    rows = max(1, min(tokens, _LOGITS // keys))
    batches = max(1, _LOGITS // (rows * keys)) if rows == tokens else 1

    def work(group: slice) -> None:
        bias = None if mask is None else _mask_of(mask, lead, group)
        for row in range(0, tokens, rows):
            part = slice(row, row + rows)
            logits = np.matmul(q[group, part], k[group].swapaxes(-1, -2))
            if bias is not None:
                logits += bias if bias.shape[-2] == 1 else bias[..., part, :]
            softmax_rows(logits)
            np.matmul(logits, v[group], out=out[group, part])

    for_blocks(len(q), batches, work)
    return out.reshape(*lead, tokens, v.shape[-1])


def _additive_mask(call: Call, shape: tuple[int, ...]) -> Array | None:
    """Turn the mask into numbers to add, of full rank; axes it is broadcast over stay 1 long."""
    mask = call.get("attn_mask")
    if mask is None:
        return None
    if np.broadcast_shapes(mask.shape, shape) != shape:
        raise MilError(f"{call.step.label}: mask {mask.shape} does not fit logits {shape}")
    if mask.dtype == np.bool_:
        mask = np.where(mask, np.float32(0), np.float32(-np.inf))
    return mask.reshape((1,) * (len(shape) - mask.ndim) + mask.shape)


def _mask_of(mask: Array, lead: tuple[int, ...], group: slice) -> Array:
    """Take the masks of some of the flattened leading indices: (group or 1, rows or 1, keys)."""
    tail = mask.shape[-2:]
    if math.prod(mask.shape[:-2]) == 1:
        return mask.reshape(1, *tail)
    if mask.shape[:-2] == lead:
        return mask.reshape(-1, *tail)[group]
    flat = np.arange(math.prod(lead))[group]
    indices = np.unravel_index(flat, lead)
    fitted = [i if size > 1 else 0 * i for i, size in zip(indices, mask.shape[:-2], strict=True)]
    return np.asarray(mask[tuple(fitted)])


OPERATIONS: dict[str, Operation] = {
    "einsum": _einsum,
    "linear": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
    "softmax": _softmax,
}
EXACT: frozenset[str] = frozenset()
