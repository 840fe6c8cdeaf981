"""A float32 .tflite file to one whose weights are float16."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from exporter.bundle.manifest import GraphFile
from exporter.islands import Island, Step, leads_to
from exporter.targets import Lowering
from exporter.targets.tflite.fp32 import lower as in_float32


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.tflite` with its weights in float16."""
    file = in_float32(work)
    path = work.folder / file.file
    to_half(path, work.precision.keeps_float)
    return dataclasses.replace(file, bytes=path.stat().st_size)


def to_half(path: Path, islands: Iterable[Island]) -> None:
    """Store the weights in float16. XNNPACK widens them once, when it packs them."""
    from ai_edge_quantizer import qtyping, quantizer

    work = quantizer.Quantizer(str(path))
    work.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key="float_casting",
    )
    for scope in _scopes(path, islands):
        work.update_quantization_recipe(
            regex=scope,
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            algorithm_key="no_quantize",
        )
    half = path.with_suffix(".half")
    work.quantize().export_model(str(half), overwrite=True)
    half.replace(path)


def _scopes(path: Path, islands: Iterable[Island]) -> list[str]:
    """The quantizer's patterns of the islands' operations: names of their outputs."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    found: set[str] = set()
    for graph in model.subgraphs:
        codes = (model.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators)
        steps = [
            Step(kinds.get(code, ""), tuple(op.inputs), tuple(op.outputs))
            for code, op in zip(codes, graph.operators, strict=True)
        ]
        inside = (graph.operators[place] for place in leads_to(steps, islands))
        found.update(graph.tensors[i].name.decode() for op in inside for i in op.outputs)
    return [f"^{re.escape(name)};?$" for name in sorted(found)]
