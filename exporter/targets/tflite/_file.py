"""Write a .tflite file as small as its content allows.

    tensor "exporter.graphs.image_encoder...", shape (1, 64, 64, 160), zero points 0 x 640
    tensor "t17",                              one vector for all tensors of this shape or points

The converter names a tensor after the code it comes from, and its library writes every vector anew,
equal or not. Apps use the signature's names, which stay.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""Of constants, as the schema demands."""
MOST_INSIDE = 2**30
"""Bytes of constants up to which they lie inside the flatbuffer, whose offsets end at 2 GB. Beyond,
they follow it, which TensorFlow Lite reads from 2.14 on."""
LARGE = 2**16
"""Bytes from which a vector is not compared with others, and a constant may lie outside."""

Vector = np.ndarray[tuple[int, ...], np.dtype[Any]]


def tidy(path: Path) -> None:
    """Number the tensors of a file and write it anew, without what is there twice or is empty."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    for graph in model.subgraphs:
        for at, tensor in enumerate(graph.tensors):
            tensor.name = f"t{at}".encode()
    tidied = path.with_suffix(".tidied")
    write(model, tidied)
    tidied.replace(path)


def write(model: Any, path: Path) -> None:
    """Write a model object of any size."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    _prepare(model)
    buffers = model.buffers
    data = {at: b.data for at, b in enumerate(buffers) if b.data is not None}
    outside = {}
    if sum(each.nbytes for each in data.values()) > MOST_INSIDE:
        outside = {at: each for at, each in data.items() if each.nbytes >= LARGE}
    inside = sum(each.nbytes for at, each in data.items() if at not in outside)
    builder = _Builder(inside + inside // 8 + 2**16)
    model.buffers = [_elsewhere() if at in outside else b for at, b in enumerate(buffers)]
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    model.buffers = buffers
    start = builder.Output()
    packed, offset = schema.Model.GetRootAs(start, 0), _aligned(len(start))
    for at, each in outside.items():
        flatbuffer_utils.update_packed_buffer(packed.Buffers(at), offset, each.nbytes)
        offset = _aligned(offset + each.nbytes)
    with path.open("wb") as file:
        for part in (start, *outside.values()):
            file.write(part)
            if outside:
                file.write(bytes(_aligned(file.tell()) - file.tell()))


def _elsewhere() -> Any:
    """A buffer whose data is not inside; with zeros there would be no fields to fill in later."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.offset = buffer.size = 1
    return buffer


def _prepare(model: Any) -> None:
    """Turn lists of numbers into arrays, which `_Builder` compares, and drop what is empty."""
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.shape = _array(tensor.shape, np.int32)
            tensor.shapeSignature = _array(tensor.shapeSignature, np.int32)
            found = tensor.quantization
            if found is None or (found.scale is None and found.details is None):
                tensor.quantization = None
            else:
                found.scale = _array(found.scale, np.float32)
                found.zeroPoint = _array(found.zeroPoint, np.int64)
        for operator in graph.operators:
            operator.inputs = _array(operator.inputs, np.int32)
            operator.outputs = _array(operator.outputs, np.int32)


def _array(numbers: Any, dtype: Any) -> Vector | None:
    return None if numbers is None else np.array(numbers, dtype)


def _aligned(size: int) -> int:
    return math.ceil(size / ALIGNMENT) * ALIGNMENT


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes equal small vectors once, and constants at multiples of `ALIGNMENT`."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Vector) -> int:
        """Write a vector, or return where an equal one lies."""
        if x.nbytes >= LARGE:
            return int(super().CreateNumpyVector(x))
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = int(super().CreateNumpyVector(x))
        return self._written[key]

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        """Begin a vector; bytes are a constant's values."""
        return int(
            super().StartVector(elemSize, numElems, ALIGNMENT if elemSize == 1 else alignment)
        )
