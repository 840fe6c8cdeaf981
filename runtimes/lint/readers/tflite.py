"""TFLite files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from exporter.bundle.manifest import GraphFile
from runtimes.lint import Network, Operation, Reader, Value

KINDS = {
    "arg_max": "argmax",
    "topk_v2": "topk",
    "fully_connected": "linear",
    "batch_matmul": "matmul",
}
TYPES = {"FLOAT16": "float16", "FLOAT32": "float32"}


def read(path: Path, graph: GraphFile) -> Network:
    """Read a file's first subgraph; its names say nothing of modules."""
    del graph
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    kinds, types = _names(schema.BuiltinOperator), _names(schema.TensorType)
    (first, *_) = model.subgraphs
    tensors = [_value(tensor, types) for tensor in first.tensors]
    operations = []
    for at, each in enumerate(first.operators):
        code = model.operatorCodes[each.opcodeIndex]
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)].lower()
        inputs = tuple(tensors[i].name for i in each.inputs if i >= 0)
        outputs = tuple(tensors[i] for i in each.outputs)
        operations.append(Operation(KINDS.get(kind, kind), f"#{at}", inputs, outputs))
    return Network(tuple(operations), {tensor.name: tensor for tensor in tensors})


def _value(tensor: Any, types: dict[int, str]) -> Value:
    shape = () if tensor.shape is None else tuple(int(side) for side in tensor.shape)
    kind = types[tensor.type]
    return Value(tensor.name.decode("utf-8", "replace"), shape, TYPES.get(kind, kind.lower()))


def _names(kinds: Any) -> dict[int, str]:
    """Turn a schema's enumeration over: number -> name."""
    return {number: name for name, number in vars(kinds).items() if isinstance(number, int)}


def _missing() -> str | None:
    if importlib.util.find_spec("ai_edge_litert") is None:
        return "pip install 'sam-export[run-tflite]'"
    return None


READER = Reader(read, _missing, ranges="exporter.targets.tflite._ranges")
