"""ONNX files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from exporter.bundle.manifest import GraphFile
from runtimes.lint import Network, Operation, Reader, Value
from runtimes.lint.readers import modules_of

KINDS = {
    "ArgMax": "argmax",
    "TopK": "topk",
    "Gemm": "linear",
    "HardSwish": "hard_swish",
    "HardSigmoid": "hard_sigmoid",
    "Attention": "attention",
}


def read(path: Path, graph: GraphFile) -> Network:
    """Read a file; what is computed of constants alone is a constant, as for a session."""
    del graph
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    model = onnx.shape_inference.infer_shapes(model)
    typed = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    values = {each.name: _value(each) for each in typed}
    live = {value.name for value in model.graph.input}
    operations = []
    constants = [tensor.name for tensor in model.graph.initializer]
    for node in model.graph.node:
        if not live.intersection(node.input):
            constants.extend(node.output)
            continue
        live.update(node.output)
        outputs = tuple(values.get(n, Value(n, (), "")) for n in node.output if n)
        linear = node.op_type == "MatMul" and not live.issuperset(node.input)
        kind = "linear" if linear else KINDS.get(node.op_type, node.op_type.lower())
        name = node.name or outputs[0].name
        operations.append(Operation(kind, name, tuple(filter(None, node.input)), outputs))
    return Network(tuple(operations), values, modules_of(constants))


def _value(info: Any) -> Value:
    from onnx import helper

    kind = info.type.tensor_type
    sides = tuple(s.dim_value if s.HasField("dim_value") else -1 for s in kind.shape.dim)
    return Value(info.name, sides, str(helper.tensor_dtype_to_np_dtype(kind.elem_type)))


def _missing() -> str | None:
    for module in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(module) is None:
            return "pip install 'sam-export[onnx]'"
    return None


READER = Reader(read, _missing, ranges="exporter.targets.onnx._ranges")
