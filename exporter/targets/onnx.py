"""ONNX: opset 20 (the first with a GELU operation), standard operations only.

ONNX Runtime's contrib fusions were measured on these networks and are not faster: attention here
has windows or a bias. So there is no option for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from exporter.bundle.manifest import GraphFile
from exporter.graphs import absorbed
from exporter.targets import Options, Target
from exporter.targets._onnx_half import to_half

if TYPE_CHECKING:
    from exporter.graphs import Graph

OPSET = 20
SINES = frozenset({"Sin", "Cos"})
"""Point coordinates stay float32 up to these; see `exporter.precision.fp16`."""
PROTOBUF_LIMIT = 2_000_000_000
"""Bytes; a larger model keeps its weights in a file beside it."""


def lower(graph: Graph, precision: str, folder: Path, options: Options) -> GraphFile:
    """Write `GRAPH.onnx` (and `GRAPH.onnx.data` above 2 GB)."""
    del options
    with absorbed(graph.module):
        model = _export(graph)
    if precision == "fp16":
        model = to_half(model, SINES)
    _strip(model)
    name = f"{graph.spec.name}.onnx"
    size = _save(model, folder / name)
    return GraphFile(graph.spec, name, size)


def _export(graph: Graph) -> Any:
    program = torch.onnx.export(
        graph.module,
        graph.example,
        dynamo=True,
        opset_version=OPSET,
        input_names=[t.name for t in graph.spec.inputs],
        output_names=[t.name for t in graph.spec.outputs],
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model_proto


def _strip(model: Any) -> None:
    """Remove the exporter's stack traces: they hold this machine's paths, and megabytes."""
    del model.metadata_props[:]
    graph = model.graph
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""


def _save(model: Any, path: Path) -> int:
    import onnx

    # Not model.ByteSize(): it fails where the answer is above the limit.
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights > PROTOBUF_LIMIT:
        onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}.data")
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    return sum(p.stat().st_size for p in path.parent.glob(f"{path.name}*"))


TARGET = Target(
    name="onnx",
    precisions=("fp32", "fp16"),
    packages=("torch", "onnx", "onnxscript", "onnxruntime"),
    extra="onnx",
    image_type=False,
    platform=lambda options: f"ONNX opset {OPSET}, standard operations only",
    lower=lower,
)
