"""A float32 .tflite file to fewer bits, by AI Edge Quantizer; the rest of it made small.

Recipes name operations by a pattern over the names of their output tensors.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.tflite.fp16 import to_half
from exporter.targets.tflite.fp32 import lower as in_float32

ALL = ".*"
PRODUCTS = ("CONV_2D", "FULLY_CONNECTED")
"""Operations to run in 8 bits. With others too, a graph falls into many XNNPACK partitions."""
WEIGHTED = (*PRODUCTS, "DEPTHWISE_CONV_2D")
"""Operations with a weight of their own; transposed convolutions are fully connected layers."""


def lower_by(work: Lowering, recipe: Callable[[Any, GraphFile], Any]) -> GraphFile:
    """Write `GRAPH.tflite` in float32, then quantise it in place.

    Args:
        work: the graph and where to.
        recipe: fills a `Quantizer`; returns the ranges it needs, or None.
    """
    from ai_edge_quantizer import quantizer

    file = in_float32(work)
    path = work.folder / file.file
    asked = quantizer.Quantizer(path)
    ranges = recipe(asked, file)
    _keep(asked, path, work)
    small = path.with_suffix(".small")
    asked.quantize(ranges, serialize_to_path=small)
    small.replace(path)
    to_half(path, work.precision.keeps_float)
    shorten_names(path)
    return dataclasses.replace(file, bytes=path.stat().st_size)


def _keep(asked: Any, path: Path, work: Lowering) -> None:
    """Leave alone what stays float; the last word on an operation counts."""
    from ai_edge_quantizer.qtyping import TFLOperationName

    layers = list(products(path, WEIGHTED))
    stay = work.stays_float([each.weight for each in layers], absorbs=True)
    for each, stays in zip(layers, stay, strict=True):
        if stays:
            kind = TFLOperationName[each.kind]
            asked.update_quantization_recipe(each.pattern, kind, algorithm_key="no_quantize")


def shorten_names(path: Path) -> None:
    """Number the tensors inside: their names tell where the converter got them, at length.

    The names an app uses are the signature's, which stay.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    for graph in model.subgraphs:
        for at, tensor in enumerate(graph.tensors):
            tensor.name = f"t{at}".encode()
    flatbuffer_utils.write_model(model, str(path))


@dataclasses.dataclass(frozen=True)
class Product:
    """A convolution or fully connected layer.

    Attributes:
        positions: pixels or tokens of its input.
        weight: its shape.
    """

    kind: str
    input: str
    output: str
    positions: int
    weight: tuple[int, ...]

    @property
    def pattern(self) -> str:
        """Matches this operation alone."""
        return f"^{re.escape(self.output)};?$"


def products(path: Path, wanted: Iterable[str] = PRODUCTS) -> Iterator[Product]:
    """Find the operations of these kinds, in execution order."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    kinds = {getattr(schema.BuiltinOperator, kind): kind for kind in wanted}
    model = flatbuffer_utils.read_model(str(path))
    for graph in model.subgraphs:
        for operator in graph.operators:
            kind = kinds.get(model.operatorCodes[operator.opcodeIndex].builtinCode)
            if kind is not None:
                taken, given = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
                weight = tuple(map(int, graph.tensors[operator.inputs[1]].shape))
                positions = math.prod(map(int, taken.shape[:-1]))
                yield Product(kind, taken.name.decode(), given.name.decode(), positions, weight)
