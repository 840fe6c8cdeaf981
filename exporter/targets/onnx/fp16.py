"""A float32 ONNX graph to float16, with an island that stays float32.

    x (f32) -> [Gemm] -> [Conv] -> y (f32)
    x (f32) -> Cast -> [Gemm f16] -> [Conv f16] -> Cast -> y (f32)

The converters that come with ONNX Runtime and onnxconverter-common cast to float16 and back between
two nodes of such an island, which rounds just what it is there to keep.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from exporter.bundle.manifest import GraphFile
from exporter.islands import Island, Step, leads_to
from exporter.targets import Lowering
from exporter.targets.onnx.fp32 import exported, write

SINGLE_INPUTS = {"Resize": (1, 2)}
"""Operation type -> inputs that are float32 whatever the first one is: region and scales."""


SINGLE_OPERATIONS = frozenset({"LayerNormalization"})
"""Operations that stay float32. ONNX Runtime before 1.20 has no float16 one on a CPU and takes the
variance as mean(x * x) - mean(x) * mean(x): below 0 by rounding where x hardly varies, and its root
is not a number (`make oldest` found it in 1.17 and 1.18). Its result is rounded as ever."""


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.onnx` in float16; inputs, outputs and islands stay float32."""
    return write(to_half(exported(work.graph), work.precision.keeps_float), work)


def to_half(model: Any, islands: Iterable[Island]) -> Any:
    """Rewrite `model` in place and return it.

    Args:
        model: an onnx.ModelProto whose value_info types every value, as the dynamo exporter writes.
        islands: what stays float32.
    """
    from onnx import TensorProto

    graph = model.graph
    island = _names(graph, islands)
    island |= {node.name for node in graph.node if node.op_type in SINGLE_OPERATIONS}
    floats = _float_values(graph, TensorProto.FLOAT)
    kept = {value for node in graph.node if node.name in island for value in node.output}
    kept |= {value.name for value in graph.input}
    _convert_weights(graph, island, floats)
    nodes: list[Any] = []
    casts: dict[tuple[str, bool], str] = {}
    weights = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        single = node.name in island
        for i, value in enumerate(node.input):
            own = single or i in SINGLE_INPUTS.get(node.op_type, ())
            if value in floats and value not in weights and (value in kept) != own:
                node.input[i] = _cast(value, nodes, casts, single=own)
        _retarget(node, TensorProto, single=single)
        nodes.append(node)
    _restore_outputs(graph, nodes, kept)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return model


def _names(graph: Any, islands: Iterable[Island]) -> set[str]:
    """Names of the islands' nodes."""
    steps = [Step(node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node]
    return {graph.node[place].name for place in leads_to(steps, islands)}


def _float_values(graph: Any, kind: int) -> set[str]:
    typed = (*graph.input, *graph.output, *graph.value_info)
    values = {v.name for v in typed if v.type.tensor_type.elem_type == kind}
    return values | {t.name for t in graph.initializer if t.data_type == kind}


def _convert_weights(graph: Any, island: set[str], floats: set[str]) -> None:
    """Weights of nodes outside the island; one that both sides use is kept twice."""
    from onnx import numpy_helper

    sides: dict[str, set[bool]] = {}
    for node in graph.node:
        for i, value in enumerate(node.input):
            single = node.name in island or i in SINGLE_INPUTS.get(node.op_type, ())
            sides.setdefault(value, set()).add(single)
    for tensor in list(graph.initializer):
        used = sides.get(tensor.name, set())
        if tensor.name not in floats or False not in used:
            continue
        half = numpy_helper.to_array(tensor).astype(np.float16)
        if True not in used:
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
            continue
        twin = f"{tensor.name}_half"
        graph.initializer.append(numpy_helper.from_array(half, twin))
        outside = [node for node in graph.node if node.name not in island]
        _rename_inputs(outside, tensor.name, twin)


def _rename_inputs(nodes: list[Any], old: str, new: str) -> None:
    for node in nodes:
        for i, value in enumerate(node.input):
            if value == old and i not in SINGLE_INPUTS.get(node.op_type, ()):
                node.input[i] = new


def _cast(value: str, nodes: list[Any], casts: dict[tuple[str, bool], str], *, single: bool) -> str:
    from onnx import TensorProto, helper

    if (value, single) not in casts:
        name = f"{value}_{'single' if single else 'half'}"
        to = TensorProto.FLOAT if single else TensorProto.FLOAT16
        nodes.append(helper.make_node("Cast", [value], [name], name=f"cast_{name}", to=to))
        casts[value, single] = name
    return casts[value, single]


def _retarget(node: Any, types: Any, *, single: bool) -> None:
    """A Cast to float32 outside the island casts to float16."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and not single:
            attribute.i = types.FLOAT16 if attribute.i == types.FLOAT else attribute.i


def _restore_outputs(graph: Any, nodes: list[Any], kept: set[str]) -> None:
    """Outputs stay float32 under their names."""
    from onnx import TensorProto, helper

    for output in graph.output:
        if output.name in kept:
            continue
        half = f"{output.name}_half_out"
        for node in nodes:
            for values in (node.input, node.output):
                for i, value in enumerate(values):
                    if value == output.name:
                        values[i] = half
        nodes.append(
            helper.make_node(
                "Cast", [half], [output.name], name=f"cast_{output.name}", to=TensorProto.FLOAT
            )
        )
