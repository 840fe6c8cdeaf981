"""Compressed weights (iOS 16 with attributes, iOS 18 with inputs) and quantised activations."""

from __future__ import annotations

import math

import numpy as np

from runtimes.engines.mil.call import Call
from runtimes.engines.mil.ops_elementwise import Operation
from runtimes.engines.mil.tensors import (
    SPELLINGS,
    Array,
    TensorType,
    unpack_bits,
    working_dtype,
)


def _affine_dequantize(call: Call) -> Array:
    """scale * (data - zero_point); both are scalars or run along `axis`."""
    return _scale(call, call["quantized_data"])


def _dequantize(call: Call) -> Array:
    return _scale(call, call["input"])


def _scale(call: Call, stored: Array) -> Array:
    values = stored.astype(np.float32)
    zero_point = call.get("zero_point")
    if zero_point is not None:
        values -= _along(call, zero_point, values).astype(np.float32)
    values *= _along(call, call["scale"], values)
    return values


def _along(call: Call, parameter: Array, like: Array) -> Array:
    """Shape a parameter for broadcasting: a vector along `axis`, a scalar everywhere."""
    if parameter.size == 1:
        return parameter.reshape(())
    shape = [1] * like.ndim
    shape[call.integer("axis", 0)] = parameter.size
    return parameter.reshape(shape)


def _quantize(call: Call) -> Array:
    """clip(round(input / scale) + zero_point), ties to even."""
    x = call["input"]
    dtype = np.dtype(working_dtype(call.text("output_dtype")))
    values = np.rint(x / _along(call, call["scale"], x))
    zero_point = call.get("zero_point")
    if zero_point is not None:
        values += _along(call, zero_point, x).astype(np.float32)
    limits = np.iinfo(dtype)
    return np.clip(values, limits.min, limits.max, out=values).astype(dtype)


def _blocks(shape: tuple[int, ...], groups: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Shapes that broadcast a group's one value over its block: (g, n / g, ...), (g, 1, ...)."""
    split, single = [], []
    for size, group in zip(shape, groups, strict=True):
        split += [group, size // group]
        single += [group, 1]
    return split, single


def _blockwise_shift_scale(call: Call) -> Array:
    """scale * (data - offset); scale has data's rank, each entry applies to one block of it."""
    data, scale, offset = call["data"], call["scale"], call.get("offset")
    split, single = _blocks(data.shape, scale.shape)
    values = data.astype(np.float32).reshape(split)
    if offset is not None:
        values -= offset.astype(np.float32).reshape(single)
    values *= scale.reshape(single)
    return values.reshape(data.shape)


def _lut_to_dense(call: Call) -> Array:
    if "shape" in call:
        return _packed_lut(call)
    return _grouped_lut(call)


def _packed_lut(call: Call) -> Array:
    """iOS 16: one table of 2**n entries; n-bit indices continue across bytes, lowest bit first."""
    lut, shape = call["lut"].reshape(-1), call.integers("shape")
    width = lut.size.bit_length() - 1
    kind = TensorType(f"uint{width}", tuple(shape))
    return np.take(lut, unpack_bits(call["indices"].reshape(-1), width, kind)).reshape(shape)


def _grouped_lut(call: Call) -> Array:
    """iOS 18: lut (*groups, entries, vector); an index is looked up in its group's table.

    A vector longer than 1 is laid along `vector_axis`, which grows by that factor.
    """
    indices, lut = call["indices"], call["lut"]
    groups = lut.shape[:-2]
    split, single = _blocks(indices.shape, groups)
    tables = lut.reshape(-1, *lut.shape[-2:])
    table = np.arange(len(tables)).reshape(single)
    found = tables[table, indices.reshape(split)].reshape(*indices.shape, lut.shape[-1])
    if lut.shape[-1] == 1:
        return np.asarray(found[..., 0])
    axis = call.integer("vector_axis", 0) % indices.ndim
    shape = list(indices.shape)
    shape[axis] *= lut.shape[-1]
    return np.moveaxis(found, -1, axis + 1).reshape(shape)


def _sparse_to_dense(call: Call) -> Array:
    """Put the values, in row-major order, where the mask is set; iOS 16 packs the mask in bytes."""
    data, mask = call["nonzero_data"], call["mask"]
    if "shape" in call:
        shape = call.integers("shape")
        bits = np.unpackbits(mask.reshape(-1), bitorder="little")[: math.prod(shape)]
        mask = bits.reshape(shape)
    dense = np.zeros(mask.shape, data.dtype)
    dense[mask != 0] = data
    return dense


def _cast(call: Call) -> Array:
    name = call.text("output_dtype")
    return call["source_val"].astype(working_dtype(SPELLINGS.get(name, name)))


OPERATIONS: dict[str, Operation] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_sparse_to_dense": _sparse_to_dense,
    "dequantize": _dequantize,
    "quantize": _quantize,
}
EXACT: frozenset[str] = frozenset()
