"""TFLite (LiteRT): NHWC image, one named signature a graph, one XNNPACK partition."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import TensorSpec
from exporter.graphs import Named, absorbed, channels_last
from exporter.targets import Options, Target

if TYPE_CHECKING:
    from exporter.graphs import Graph


SINES = frozenset({"SIN", "COS"})
"""Point coordinates stay float32 up to these; see `exporter.precision.fp16`."""
PICTURES = frozenset({"image", "prompt_masks"})
"""Inputs that an app draws."""


class ChannelsLast(nn.Module):
    """A graph by names that takes its pictures as (1, S, S, C), as a camera buffer lies in memory.

    LiteRT's converter calls by keyword, and names inputs and outputs of the signature after what it
    gives and gets.
    """

    def __init__(self, graph: Graph, pictures: frozenset[str]) -> None:
        super().__init__()
        self.named = Named(graph)
        self.pictures = pictures

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """See the class."""
        first = {
            name: tensor.permute(0, 3, 1, 2) if name in self.pictures else tensor
            for name, tensor in inputs.items()
        }
        outputs: dict[str, Tensor] = self.named(**first)
        return outputs


def lower(graph: Graph, precision: str, folder: Path, options: Options) -> GraphFile:
    """Write `GRAPH.tflite`."""
    del options
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import litert_torch

    spec = dataclasses.replace(graph.spec, inputs=tuple(map(_channels_last, graph.spec.inputs)))
    pictures = frozenset(tensor.name for tensor in spec.inputs if tensor.layout == "NHWC")
    example = {
        tensor.name: one.permute(0, 2, 3, 1).contiguous() if tensor.name in pictures else one
        for tensor, one in zip(spec.inputs, graph.example, strict=True)
    }
    module = ChannelsLast(graph, pictures).eval()
    with absorbed(graph.module), channels_last(graph.module):
        converted = litert_torch.signature(spec.name, module, sample_kwargs=example).convert()
    path = folder / f"{spec.name}.tflite"
    converted.export(str(path))
    if precision == "fp16":
        _half(path)
    return GraphFile(spec, path.name, path.stat().st_size, signature=spec.name)


def _channels_last(tensor: TensorSpec) -> TensorSpec:
    """A picture of the app's has its channels last; what graphs hand on stays as it is."""
    if tensor.name not in PICTURES:
        return tensor
    batch, channels, height, width = tensor.shape
    return dataclasses.replace(tensor, shape=(batch, height, width, channels), layout="NHWC")


def _half(path: Path) -> None:
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
    for scope in _single_precision(path):
        work.update_quantization_recipe(
            regex=scope,
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            algorithm_key="no_quantize",
        )
    half = path.with_suffix(".half")
    work.quantize().export_model(str(half), overwrite=True)
    half.replace(path)


def _single_precision(path: Path) -> list[str]:
    """The quantizer's patterns of the operations that lead to `SINES`: names of their outputs."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    ends = {getattr(schema.BuiltinOperator, name) for name in SINES}
    found: set[str] = set()
    for graph in model.subgraphs:
        wanted: set[int] = set()
        # Operations lie in the order of their execution.
        for op in reversed(graph.operators):
            kind = model.operatorCodes[op.opcodeIndex].builtinCode
            if kind in ends or wanted & set(op.outputs):
                wanted.update(op.inputs)
                found.update(graph.tensors[i].name.decode() for i in op.outputs)
    return [f"^{re.escape(name)};?$" for name in sorted(found)]


TARGET = Target(
    name="tflite",
    precisions=("fp32", "fp16"),
    packages=("torch", "litert-torch", "ai-edge-litert", "ai-edge-quantizer"),
    extra="tflite",
    whole_pixels=False,
    platform=lambda options: "LiteRT (TensorFlow Lite) 2.12 or later, Android 8 or later",
    lower=lower,
)
