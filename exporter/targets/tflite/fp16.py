"""A float32 .tflite file to one whose constants are float16.

    table (f32) -> [ADD]   becomes   table (f16) -> [DEQUANTIZE] -> [ADD]

XNNPACK widens such a constant once, when it loads the file, and leaves no operation behind.
AI Edge Quantizer's own float16 recipe halves the weights of convolutions and fully connected layers
alone; tables of positions and the constant sides of products would stay twice as large.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from exporter.bundle.manifest import GraphFile
from exporter.islands import Island, Step, leads_to
from exporter.targets import Lowering
from exporter.targets.tflite.fp32 import lower as in_float32

Array = np.typing.NDArray[np.float32]

LEAST_BYTES = 1024
"""A smaller constant stays float32: the operation that widens it takes about what it would save."""

LARGEST = float(np.finfo(np.float16).max)


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.tflite` with its constants in float16."""
    file = in_float32(work)
    path = work.folder / file.file
    to_half(path, work.precision.keeps_float)
    return dataclasses.replace(file, bytes=path.stat().st_size)


def to_half(path: Path, islands: Iterable[Island]) -> None:
    """Store every large constant outside the islands in float16.

    Vectors stay float32: they are biases and norms, small, and XNNPACK wants a bias so.
    """
    from ai_edge_litert.tools import flatbuffer_utils
    from ai_edge_quantizer import model_modifier

    model = flatbuffer_utils.read_model(str(path))
    changes = dict(_changes(model, islands))
    half = path.with_suffix(".half")
    model_modifier.ModelModifier(model).modify_model(changes, serialize_to_path=str(half))
    half.replace(path)


def _changes(model: Any, islands: Iterable[Island]) -> Iterator[tuple[str, Any]]:
    """The tensors to halve: name -> what the quantizer's writer does to each."""
    from ai_edge_quantizer import qtyping

    islands = tuple(islands)
    halves: dict[int, Any] = {}
    for graph in model.subgraphs:
        inside = leads_to(_steps(model, graph), islands)
        kept = {graph.tensors[i].buffer for at in inside for i in graph.operators[at].inputs}
        for index, operators in _readers(graph).items():
            tensor = graph.tensors[index]
            values = None if tensor.buffer in kept else _constant(model, tensor)
            if values is None or not _worth_halving(values):
                continue
            # Tensors may share a buffer.
            if tensor.buffer not in halves:
                half = qtyping.NonLinearQuantParams(16, values.astype(np.float16))
                halves[tensor.buffer] = half
            change = ([qtyping.QuantTransformation.ADD_DEQUANTIZE], halves[tensor.buffer])
            name = tensor.name.decode()
            readers = [qtyping.OpToTensorParams(at, *change) for at in operators]
            yield name, qtyping.TensorTransformationParams(name, consumers=readers)


def _steps(model: Any, graph: Any) -> list[Step]:
    from ai_edge_litert import schema_py_generated as schema

    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    codes = (model.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators)
    return [
        Step(kinds.get(code, ""), tuple(op.inputs), tuple(op.outputs))
        for code, op in zip(codes, graph.operators, strict=True)
    ]


def _readers(graph: Any) -> dict[int, list[int]]:
    """Tensor -> the operations that read it, each once."""
    found: dict[int, list[int]] = defaultdict(list)
    for place, operator in enumerate(graph.operators):
        # An input that is left out is -1.
        for index in sorted({int(i) for i in operator.inputs if i >= 0}):
            found[index].append(place)
    return found


def _constant(model: Any, tensor: Any) -> Array | None:
    """A float32 constant's values; None of any other tensor."""
    from ai_edge_litert import schema_py_generated as schema

    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type != schema.TensorType.FLOAT32:
        return None
    return np.frombuffer(data, np.float32).reshape(tensor.shape)


def _worth_halving(values: Array) -> bool:
    """Whether float16 saves something, and holds every value."""
    matrix = sum(side > 1 for side in values.shape) > 1
    return matrix and values.nbytes >= LEAST_BYTES and bool(np.abs(values).max() <= LARGEST)
