"""A torch graph -> an .mlpackage, by coremltools."""

from __future__ import annotations

import dataclasses
import inspect
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import TensorSpec
from exporter.targets import Lowering, Options
from exporter.targets.coreml import TARGET
from exporter.targets.coreml._passes import passes

if TYPE_CHECKING:
    from exporter.graphs import Graph


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.mlpackage` in float32."""
    import coremltools as ct

    return convert(work, ct.precision.FLOAT32)


def convert(work: Lowering, compute_precision: Any) -> GraphFile:
    """Write `GRAPH.mlpackage`.

    Args:
        work: the graph and where to.
        compute_precision: as coremltools takes it.
    """
    import coremltools as ct

    graph = work.graph
    with torch.no_grad(), _parameters_named(graph):
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            graph.module, graph.example, check_trace=False
        )
    inputs = tuple(_declared(tensor, work.options) for tensor in graph.spec.inputs)
    spec = dataclasses.replace(graph.spec, inputs=inputs)
    model = ct.convert(
        traced,
        convert_to="mlprogram",
        inputs=[_input(ct, tensor) for tensor in spec.inputs],
        outputs=[ct.TensorType(name=t.name, dtype=np.float32) for t in spec.outputs],
        minimum_deployment_target=getattr(ct.target, f"iOS{work.options.minimum_ios}"),
        compute_precision=compute_precision,
        skip_model_load=True,
        pass_pipeline=passes(),
    )
    path = work.folder / f"{spec.name}.mlpackage"
    model.save(str(path))
    make_reproducible(path)
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return GraphFile(spec, path.name, size)


@contextmanager
def _parameters_named(graph: Graph) -> Iterator[None]:
    """Within it, `forward` has a parameter for each input: a trace names its values after them."""
    module = graph.module

    def forward(*inputs: Tensor) -> Any:
        return type(module).forward(module, *inputs)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [inspect.Parameter(tensor.name, kind) for tensor in graph.spec.inputs]
    forward.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


def _declared(tensor: TensorSpec, options: Options) -> TensorSpec:
    if tensor.name != "image" or not TARGET.takes_bytes(options):
        return tensor
    return dataclasses.replace(tensor, dtype="uint8", layout="RGB image")


def _input(ct: Any, tensor: TensorSpec) -> Any:
    if tensor.layout == "RGB image":
        return ct.ImageType(
            name=tensor.name, shape=tensor.shape, color_layout=ct.colorlayout.RGB, scale=1.0
        )
    # Without a dtype, iOS 16 and later get float16 inputs: half-pixel steps for coordinates.
    return ct.TensorType(name=tensor.name, shape=tensor.shape, dtype=np.float32)


def make_reproducible(package: Path) -> None:
    """Replace random identifiers and drop the date, so that equal jobs give equal files."""
    index = package / "Manifest.json"
    data = json.loads(index.read_text(encoding="utf-8"))
    entries, root = data["itemInfoEntries"], data["rootModelIdentifier"]
    stable = {
        key: str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"])).upper()
        for key, entry in entries.items()
    }
    data["itemInfoEntries"] = {stable[key]: entry for key, entry in entries.items()}
    data["rootModelIdentifier"] = stable[root]
    # As coremltools writes it whenever it opens a package: a look must not change a bundle.
    index.write_text(json.dumps(data, indent=4, sort_keys=True) + "\n", "utf-8", newline="\n")
    _rewrite_model(package / "Data" / entries[root]["path"])


def _rewrite_model(path: Path) -> None:
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model()
    model.ParseFromString(path.read_bytes())
    for key in list(model.description.metadata.userDefined):
        if "date" in key:
            del model.description.metadata.userDefined[key]
    path.write_bytes(model.SerializeToString(deterministic=True))
