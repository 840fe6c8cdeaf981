"""Element types, declared tensor types, and the packed forms in which values are stored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtimes.engines.mil.errors import MilError

Array = npt.NDArray[Any]

# MIL's name -> the numpy type in which its elements lie in a file.
STORED = {
    "bool": np.dtype(np.bool_),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "int8": np.dtype(np.int8),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
}
# MIL's name -> bits an element takes where several share a byte.
PACKED = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}
# The names that operations spell in their `dtype` arguments.
SPELLINGS = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}


@dataclass(frozen=True)
class TensorType:
    """A declared type; None is a dimension known only at run time.

    `dtype` is MIL's name in lower case, such as `float16`, `int32`, `bool` or `string`.
    """

    dtype: str
    shape: tuple[int | None, ...]

    @property
    def is_float(self) -> bool:
        """Whether this interpreter holds it as float32."""
        return self.dtype.startswith("float")

    @property
    def count(self) -> int:
        """Number of elements; only for a type whose every dimension is known."""
        return math.prod(size if size is not None else 0 for size in self.shape)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of this shape fits this type."""
        return len(shape) == len(self.shape) and all(
            want is None or want == have for want, have in zip(self.shape, shape, strict=True)
        )


def working_dtype(name: str) -> npt.DTypeLike:
    """Numpy type of a tensor while a program runs: every float is a float32."""
    if name.startswith("float"):
        return np.float32
    if name in PACKED:
        return np.int8 if name == "int4" else np.uint8
    if name not in STORED:
        raise MilError(f"element type '{name}' is not known to this interpreter")
    return STORED[name]


def stored_bytes(kind: TensorType) -> int:
    """Size of the type's elements in a file."""
    if kind.dtype in PACKED:
        return -(-kind.count * PACKED[kind.dtype] // 8)
    return kind.count * np.dtype(working_stored(kind.dtype)).itemsize


def working_stored(name: str) -> npt.DTypeLike:
    """Numpy type of a whole-byte element as stored."""
    if name not in STORED:
        raise MilError(f"element type '{name}' is not known to this interpreter")
    return STORED[name]


def from_bytes(raw: memoryview | bytes, kind: TensorType) -> Array:
    """Read little-endian elements: a view, or a copy if they share bytes and are unpacked."""
    shape = tuple(size or 0 for size in kind.shape)
    if kind.dtype in PACKED:
        return unpack_bits(np.frombuffer(raw, np.uint8), PACKED[kind.dtype], kind).reshape(shape)
    return np.frombuffer(raw, working_stored(kind.dtype)).reshape(shape)


def unpack_bits(packed: Array, width: int, kind: TensorType) -> Array:
    """Unpack bit fields, the first in the lowest bits, continuing across bytes, to a byte each."""
    bits = np.unpackbits(packed, bitorder="little")[: kind.count * width]
    weights = (1 << np.arange(width)).astype(np.uint8)
    values = bits.reshape(-1, width) @ weights
    if kind.dtype.startswith("u"):
        return values.astype(np.uint8)
    signed = values.astype(np.int8)
    half = 1 << (width - 1)
    return np.where(signed >= half, signed - 2 * half, signed).astype(np.int8)
