"""A TFLite file that adds its two inputs, written with the flatbuffer schema alone."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

SHAPE = (1, 2, 2, 3)


def write_adder(path: Path, signature: str, names: tuple[str, str, str]) -> None:
    """Outputs (first input) + (second input); no signature if `signature` is empty."""
    model = schema.ModelT()
    model.version = 3
    model.description = "adder"
    model.buffers = [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 1
    model.operatorCodes = [code]
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(f"tensor_{i}") for i in range(3)]
    graph.inputs, graph.outputs = [0, 1], [2]
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs, operator.outputs = [0, 1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.AddOptions
    operator.builtinOptions = schema.AddOptionsT()
    graph.operators = [operator]
    model.subgraphs = [graph]
    if signature:
        model.signatureDefs = [_signature(signature, names)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def _tensor(name: str) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, list(SHAPE), schema.TensorType.FLOAT32
    tensor.buffer = 0
    return tensor


def _signature(key: str, names: tuple[str, str, str]) -> schema.SignatureDefT:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key, 0
    maps = []
    for index, name in enumerate(names):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        maps.append(entry)
    # Stored in another order on purpose: a reader must go by name or number, not by place.
    signature.inputs, signature.outputs = [maps[1], maps[0]], [maps[2]]
    return signature
