"""A torch graph -> float32 ONNX on disk, by torch's own exporter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from exporter.bundle.manifest import GraphFile
from exporter.graphs import absorbed, centred
from exporter.targets import OPSETS, Lowering
from exporter.targets.onnx._names import shorten_names
from exporter.targets.onnx._opset import lower_opset
from exporter.targets.onnx._tables import store_tables

if TYPE_CHECKING:
    from exporter.graphs import Graph

PROTOBUF_LIMIT = 2_000_000_000
"""Bytes; a larger model keeps its weights in a file beside it."""


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.onnx` in float32 (and `GRAPH.onnx.data` above 2 GB)."""
    return write(exported(work.graph), work)


def exported(graph: Graph) -> Any:
    """An onnx.ModelProto whose value_info types every value that torch wrote."""
    with absorbed(graph.module), centred(graph.module):
        return store_tables(_export(graph))


def write(model: Any, work: Lowering) -> GraphFile:
    """Write a model in its opset, without its exporter's traces.

    RequestError if it cannot be written in the opset that is asked for.
    """
    shorten_names(lower_opset(model, work.options.opset))
    _strip(model)
    name = f"{work.graph.spec.name}.onnx"
    return GraphFile(work.graph.spec, name, _save(model, work.folder / name))


def _export(graph: Graph) -> Any:
    program = torch.onnx.export(
        graph.module,
        graph.example,
        dynamo=True,
        opset_version=OPSETS[-1],
        input_names=[t.name for t in graph.spec.inputs],
        output_names=[t.name for t in graph.spec.outputs],
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model_proto


def _strip(model: Any) -> None:
    """Remove the exporter's stack traces: they hold this machine's paths, and megabytes.

    And what it says twice, the shapes of weights: ONNX Runtime's quantiser turns weights over and
    then stops at their old shapes.
    """
    del model.metadata_props[:]
    graph = model.graph
    del graph.metadata_props[:]
    weights = {tensor.name for tensor in graph.initializer}
    values = [value for value in graph.value_info if value.name not in weights]
    del graph.value_info[:]
    graph.value_info.extend(values)
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
