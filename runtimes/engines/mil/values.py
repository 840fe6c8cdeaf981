"""Protobuf types and values of a MIL program -> declared types and arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.protos import data_type_names
from runtimes.engines.mil.tensors import (
    PACKED,
    STORED,
    Array,
    TensorType,
    from_bytes,
    working_stored,
)

BlobReader = Callable[[str, int, TensorType], Array]


@cache
def _names() -> dict[int, str]:
    return data_type_names()


def tensor_type(message: Any) -> TensorType:
    """Read a `ValueType` that is a tensor."""
    if message.WhichOneof("type") != "tensorType":
        raise MilError(f"a value of kind {message.WhichOneof('type')} is not known here")
    tensor = message.tensorType
    dtype = _names().get(tensor.dataType, f"number {tensor.dataType}")
    if dtype not in STORED and dtype not in PACKED and dtype != "string":
        raise MilError(f"element type '{dtype}' is not known to this interpreter")
    sizes = [
        int(d.constant.size) if d.WhichOneof("dimension") == "constant" else None
        for d in tensor.dimensions
    ]
    return TensorType(dtype, tuple(sizes))


def value(message: Any, read_blob: BlobReader) -> Array:
    """Read a `Value`: a tensor in the program text or a weight file. Strings give a text array."""
    kind = tensor_type(message.type)
    if message.WhichOneof("value") == "blobFileValue":
        blob = message.blobFileValue
        return read_blob(blob.fileName, int(blob.offset), kind)
    if message.immediateValue.WhichOneof("value") != "tensor":
        raise MilError(f"a {message.immediateValue.WhichOneof('value')} constant is not known here")
    return _immediate(message.immediateValue.tensor, kind)


def _immediate(tensor: Any, kind: TensorType) -> Array:
    """Read a tensor in the text: types under 32 bits are bytes, others have their own list."""
    field = tensor.WhichOneof("value")
    shape = tuple(size or 0 for size in kind.shape)
    if field is None:
        return np.zeros(shape, working_stored(kind.dtype))
    items = getattr(tensor, field).values
    if field == "bytes":
        return from_bytes(items, kind)
    dtype = np.dtype(np.str_) if field == "strings" else np.dtype(working_stored(kind.dtype))
    array = np.array(items, dtype)
    if array.size != kind.count:
        raise MilError(f"a constant of shape {shape} holds {array.size} elements")
    array = array.reshape(shape)
    array.flags.writeable = False
    return array
