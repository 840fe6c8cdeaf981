"""Store large constants of a .tflite file in fewer bits; the operations that read them stay float.

    table (f32) -> [ADD]   becomes   table (f16) -> [DEQUANTIZE] -> [ADD]

XNNPACK widens such a constant once, when it loads the file, and leaves no operation behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter.islands import Island, Step, leads_to

Array = np.typing.NDArray[np.float32]

LEAST_BYTES = 1024
"""A smaller constant stays float32: the operation that widens it takes about what it would save."""

LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Constant:
    """A float32 constant.

    Attributes:
        values: of any shape.
        biases_softmax: whether it is only ever added to what a softmax takes.
    """

    values: Array
    biases_softmax: bool


Form = Callable[[Constant], Any]
"""A large constant -> the quantizer's parameters to store it by, or None if it stays."""


def store(path: Path, islands: Iterable[Island], form: Form) -> None:
    """Store every large constant outside the islands in another form.

    Vectors stay float32: they are biases and norms, small, and XNNPACK wants a bias so.
    """
    from ai_edge_litert.tools import flatbuffer_utils
    from ai_edge_quantizer import model_modifier

    model = flatbuffer_utils.read_model(str(path))
    changes = dict(_changes(model, islands, form))
    stored = path.with_suffix(".stored")
    model_modifier.ModelModifier(model).modify_model(changes, str(stored), False)
    stored.replace(path)


def half(constant: Constant) -> Any:
    """Parameters for float16; None if it cannot hold a value."""
    from ai_edge_quantizer import qtyping

    if np.abs(constant.values).max() > LARGEST:
        return None
    return qtyping.NonLinearQuantParams(16, constant.values.astype(np.float16))


def half_or_byte(constant: Constant) -> Any:
    """Parameters for 8 bits if it is a table of attention bias (1, heads, N, N), else for float16.

    A scale and a zero point for each head: softmax sees differences within a head alone.
    """
    from ai_edge_quantizer import qtyping

    values = constant.values
    if not (constant.biases_softmax and values.ndim == 4 and values.shape[0] == 1):
        return half(constant)
    scale, zero_point, rounded = byte_table(values)
    return qtyping.UniformQuantParams(8, 1, scale, zero_point, False, rounded)


def byte_table(values: Array) -> tuple[Array, np.typing.NDArray[Any], np.typing.NDArray[np.int8]]:
    """Round (1, heads, N, N) to 8 bits.

    Returns:
        Scales and zero points, both (1, heads, 1, 1), and the whole numbers: a value is about
        scale * (number - zero point).
    """
    # The quantizer's zero points count from a range that holds 0.
    low = np.minimum(values.min((2, 3), keepdims=True), 0)
    high = np.maximum(values.max((2, 3), keepdims=True), 0)
    scale = np.where(high > low, (high - low) / 255, 1).astype(np.float32)
    zero_point = np.clip(np.round(-128 - low / scale), -128, 127).astype(np.int64)
    rounded = np.clip(np.round(values / scale) + zero_point, -128, 127).astype(np.int8)
    return scale, zero_point, rounded


def _changes(model: Any, islands: Iterable[Island], form: Form) -> Iterator[tuple[str, Any]]:
    """The tensors to store anew: name -> what the quantizer's writer does to each."""
    from ai_edge_quantizer import qtyping

    islands = tuple(islands)
    forms: dict[int, Any] = {}
    for graph in model.subgraphs:
        steps = _steps(model, graph)
        kept = {
            graph.tensors[i].buffer for at in leads_to(steps, islands) for i in steps[at].inputs
        }
        readers = _readers(graph)
        for index, operators in readers.items():
            tensor = graph.tensors[index]
            values = None if tensor.buffer in kept else _values(model, tensor)
            if values is None or values.nbytes < LEAST_BYTES or not _is_matrix(values):
                continue
            # Tensors may share a buffer.
            if tensor.buffer not in forms:
                biases = _bias_softmax([steps[at] for at in operators], steps, readers)
                forms[tensor.buffer] = form(Constant(values, biases))
            if forms[tensor.buffer] is None:
                continue
            change = ([qtyping.QuantTransformation.ADD_DEQUANTIZE], forms[tensor.buffer])
            name = tensor.name.decode()
            consumers = [qtyping.OpToTensorParams(at, *change) for at in operators]
            yield name, qtyping.TensorTransformationParams(name, consumers=consumers)


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


def _bias_softmax(sums: list[Step], steps: list[Step], readers: Mapping[Any, list[int]]) -> bool:
    """Whether all these are sums that softmaxes alone read."""
    read = [steps[at] for step in sums for out in step.outputs for at in readers.get(out, [])]
    return (
        bool(read)
        and all(step.kind == "ADD" for step in sums)
        and all(step.kind == "SOFTMAX" for step in read)
    )


def _values(model: Any, tensor: Any) -> Array | None:
    """A float32 constant's values; None of any other tensor."""
    from ai_edge_litert import schema_py_generated as schema

    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type != schema.TensorType.FLOAT32:
        return None
    return np.frombuffer(data, np.float32).reshape(tensor.shape)


def _is_matrix(values: Array) -> bool:
    return sum(1 for side in values.shape if side > 1) > 1
