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
from exporter.targets.tflite._constants import half_or_byte, store
from exporter.targets.tflite._file import tidy
from exporter.targets.tflite.fp32 import convert

ALL = ".*"
PRODUCTS = ("CONV_2D", "FULLY_CONNECTED")
"""Operations to run in 8 bits. With others too, a graph falls into many XNNPACK partitions."""
WEIGHTED = (*PRODUCTS, "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL")
"""Operations with a weight of their own; of BATCH_MATMUL those alone that have a table."""
QUANTIZERS = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
"""Operations that AI Edge Quantizer calls otherwise."""


def lower_by(work: Lowering, recipe: Callable[[Any, GraphFile], Any]) -> GraphFile:
    """Write `GRAPH.tflite` in float32, then quantise it in place.

    Args:
        work: the graph and where to.
        recipe: fills a `RecipeManager`; returns the ranges it needs, or None.
    """
    from ai_edge_quantizer.recipe_manager import RecipeManager

    file = convert(work)
    path = work.folder / file.file
    asked = RecipeManager()
    ranges = recipe(asked, file)
    _keep(asked, path, work)
    quantise(path, asked, ranges)
    store(path, work.precision.keeps_float, half_or_byte)
    tidy(path)
    return dataclasses.replace(file, bytes=path.stat().st_size)


def _keep(asked: Any, path: Path, work: Lowering) -> None:
    """Leave alone what stays float; the last word on an operation counts."""
    from ai_edge_quantizer.qtyping import TFLOperationName

    layers = list(products(path, WEIGHTED))
    stay = work.stays_float([each.weight for each in layers], absorbs=True)
    for each, stays in zip(layers, stay, strict=True):
        if stays:
            kind = TFLOperationName[QUANTIZERS.get(each.kind, each.kind)]
            asked.add_quantization_config(each.pattern, kind, algorithm_key="no_quantize")


def quantise(path: Path, asked: Any, ranges: Any) -> None:
    """Do what a `RecipeManager` was asked for.

    `Quantizer.quantize` does the same; but given ranges, it also gives every value in the graph its
    own memory, all at once, to look up names: 10 GB for SAM ViT-B.
    """
    from ai_edge_litert.tools import flatbuffer_utils
    from ai_edge_quantizer.model_modifier import ModelModifier
    from ai_edge_quantizer.params_generator import ParamsGenerator

    model = flatbuffer_utils.read_model(str(path))
    changes = ParamsGenerator(model).generate_quantization_parameters(asked, ranges, False)
    small = path.with_suffix(".small")
    ModelModifier(model).modify_model(changes, str(small), False)
    small.replace(path)


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
            if kind is not None and (kind != "BATCH_MATMUL" or _has_table(model, graph, operator)):
                taken, given = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
                weight = tuple(map(int, graph.tensors[operator.inputs[1]].shape))
                positions = math.prod(map(int, taken.shape[:-1]))
                yield Product(kind, taken.name.decode(), given.name.decode(), positions, weight)


def _has_table(model: Any, graph: Any, operator: Any) -> bool:
    """Whether an operation takes a stored constant second."""
    return model.buffers[graph.tensors[operator.inputs[1]].buffer].data is not None
