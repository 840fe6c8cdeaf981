"""Store large constants of a .tflite file in fewer bits; the operations that read them stay float.

    table (f32) -> [ADD]   becomes   table (f16) -> [DEQUANTIZE] -> [ADD]

XNNPACK widens such a constant once, when it loads the file, and leaves no operation behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter.islands import Island, Step, leads_to

Array = np.typing.NDArray[np.float32]

LEAST_BYTES = 1024
"""A smaller constant stays float32: the operation that widens it takes about what it would save."""

CONVOLUTIONS = {"CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2), "TRANSPOSE_CONV": (1, 3)}
"""Kind -> places of the filter and the bias among the inputs. The bias goes with its filter: with a
float16 filter and a float32 bias, LiteRT 1.1 to 1.3 stops or computes something else."""

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

    Vectors stay float32, for they are small, but for biases of convolutions.
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
        steps, readers = _steps(model, graph), _readers(graph)
        kept = {
            graph.tensors[i].buffer for at in leads_to(steps, islands) for i in steps[at].inputs
        }
        _choose_forms(model, graph, kept, form, forms)
        for index, operators in readers.items():
            name, how = graph.tensors[index].name.decode(), forms.get(graph.tensors[index].buffer)
            if how is not None:
                change = ([qtyping.QuantTransformation.ADD_DEQUANTIZE], how)
                consumers = [qtyping.OpToTensorParams(at, *change) for at in operators]
                yield name, qtyping.TensorTransformationParams(name, consumers=consumers)


def _choose_forms(
    model: Any, graph: Any, kept: Container[int], form: Form, forms: dict[int, Any]
) -> None:
    """Add to `forms`, by buffer, which tensors may share."""
    from ai_edge_quantizer import qtyping

    steps, readers = _steps(model, graph), _readers(graph)
    bias_of = dict(_biases(steps))
    for index, operators in readers.items():
        at = graph.tensors[index].buffer
        values = None if at in kept or at in forms else _values(model, graph.tensors[index])
        if values is None or values.nbytes < LEAST_BYTES or not _is_matrix(values):
            continue
        biases = _bias_softmax([steps[place] for place in operators], steps, readers)
        forms[at] = form(Constant(values, biases))
        if index in bias_of and isinstance(forms[at], qtyping.NonLinearQuantParams):
            bias = graph.tensors[bias_of[index]]
            added = _values(model, bias)
            if added is not None:
                forms[bias.buffer] = half(Constant(added, biases_softmax=False))
                if forms[bias.buffer] is None:
                    forms[at] = None


def _biases(steps: Iterable[Step]) -> Iterator[tuple[int, int]]:
    """The filter and the bias of every convolution that has one."""
    for step in steps:
        filter_at, bias_at = CONVOLUTIONS.get(step.kind, (0, len(step.inputs)))
        if bias_at < len(step.inputs) and (bias := step.inputs[bias_at]) != -1:
            yield step.inputs[filter_at], bias  # type: ignore[misc]


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
