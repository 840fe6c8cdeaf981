"""Facts in a lowered graph's file: operations, ranks, and parts that phones run badly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.islands import COORDINATES, IOU_HEAD, WEIGHTED_SUMS, Step, leads_to
from profiles.lab.bench.operations import Count, choose_reader, count
from runtimes.engines.mil import load_package
from runtimes.lint.readers.coreai import read as read_aimodel

WHOLE = ("scaled_dot_product_attention", "layer_norm", "gelu")
"""Core ML operations that a converter often splits up."""
PARAMETERS = frozenset({"scale_factor_height", "scale_factor_width"})
"""Arguments that are float32 numbers by the operation's definition, whatever it computes in."""
KEPT = tuple(
    pattern.lstrip("*").replace(".", "_")
    for part in (IOU_HEAD, WEIGHTED_SUMS)
    for pattern in part.patterns
)
"""In the names of constants that `exporter.targets.coreml.fp16` keeps in float32 too."""


def facts(path: Path, graph: GraphFile) -> dict[str, Any]:
    """Collect everything the table shows of one graph's file.

    Returns:
        The fields of `profiles.lab.bench.operations.Count`, and `custom`: operations that are not
        standard; `dynamic`: tensors without a fixed shape; for Core ML `whole`: occurrences of each
        of `WHOLE`, and `fp32_constants`: see `coreml`.

    Raises:
        RequestError: a file of a new target.
    """
    if path.suffix == ".aimodel":  # the only file that holds all graphs of a bundle
        return coreai(path, graph)
    readers = {".tflite": tflite, ".onnx": onnx, ".mlpackage": coreml}
    reader = choose_reader(path, readers, "profiles/lab/matrix/facts.py")
    return asdict(count(path)) | reader(path)


def coreai(path: Path, graph: GraphFile) -> dict[str, Any]:
    """Count the operations, ranks and dynamic tensors of a graph's function.

    Constants, and what is computed of constants alone, count as neither.
    """
    network = read_aimodel(path, graph)
    values = network.values.values()
    counted = Count(
        operations=dict(sorted(Counter(each.kind for each in network.operations).items())),
        max_rank=max((len(value.shape) for value in values), default=0),
    )
    return asdict(counted) | {"custom": [], "dynamic": sum(_open(v.shape) for v in values)}


def tflite(path: Path) -> dict[str, Any]:
    """Count custom operations and dynamic tensors."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    kinds = schema.BuiltinOperator
    odd = {kinds.CUSTOM: "CUSTOM", kinds.STABLEHLO_COMPOSITE: "STABLEHLO_COMPOSITE"}
    custom = [
        (code.customCode or odd[code.builtinCode].encode()).decode()
        for code in model.operatorCodes
        if code.builtinCode in odd
    ]
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    dynamic = sum(_open(t.shape) or _open(t.shapeSignature) for t in tensors)
    return {"custom": custom, "dynamic": dynamic}


def _open(shape: Iterable[int] | None) -> bool:
    return shape is not None and any(side < 0 for side in shape)


def onnx(path: Path) -> dict[str, Any]:
    """Count operations of other domains and dynamic tensors."""
    import onnx as toolkit

    graph = toolkit.load(str(path), load_external_data=False).graph
    custom = sorted({f"{n.domain}.{n.op_type}" for n in graph.node if n.domain not in _STANDARD})
    typed = (*graph.input, *graph.output, *graph.value_info)
    shapes = (value.type.tensor_type.shape.dim for value in typed)
    dynamic = sum(any(not side.HasField("dim_value") for side in shape) for shape in shapes)
    return {"custom": custom, "dynamic": dynamic}


_STANDARD = frozenset({"", "ai.onnx"})


def coreml(path: Path) -> dict[str, Any]:
    """Count a MIL program's whole operations, dynamic tensors and float32 constants.

    `fp32_constants` has `coordinates`: constants between the point coordinates and their sine and
    cosine, float32 on purpose; and `others`: a float16 graph should have none but those of `KEPT`,
    which are left out.
    """
    program = load_package(path)
    steps, given = program.graph.steps, program.inputs
    shapes = [port.kind.shape for step in steps for port in step.outputs]
    dynamic = sum(None in shape for shape in (*shapes, *(feature.shape for feature in given)))
    whole = {name: program.operation_counts.get(name, 0) for name in WHOLE}
    constants = float32_constants(steps, program.graph.constants)
    return {"custom": [], "dynamic": dynamic, "whole": whole, "fp32_constants": constants}


def float32_constants(steps: Iterable[Any], constants: Mapping[str, Any]) -> dict[str, int]:
    """Count as `coreml` says; a constant that both kinds of operation read is one of `others`."""
    coordinates: set[str] = set()
    others: set[str] = set()
    steps = list(steps)
    ports = (tuple(port.name for port in step.outputs) for step in steps)
    bare = [
        Step(step.operation, tuple(step.reads()), outputs)
        for step, outputs in zip(steps, ports, strict=True)
    ]
    inside = leads_to(bare, (COORDINATES,))
    for place, step in enumerate(steps):
        for name, group in step.arguments.items():
            for at, source in enumerate(group):
                array = constants.get(source) if isinstance(source, str) else source
                if array is None or str(array.dtype) != "float32" or name in PARAMETERS:
                    continue
                inline = f"{step.outputs[0].name}.{name}.{at}"
                label = source if isinstance(source, str) else inline
                if any(part in label for part in KEPT):
                    continue
                (coordinates if place in inside else others).add(label)
    return {"coordinates": len(coordinates - others), "others": len(others)}
