"""TFLite (LiteRT): NHWC image, one named signature a graph, one XNNPACK partition."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import absorbed, channels_last
from exporter.targets import Options, Target

if TYPE_CHECKING:
    from exporter.graphs import Graph


SINES = frozenset({"SIN", "COS"})
"""Point coordinates stay float32 up to these; see `exporter.precision.fp16`."""


FLATBUFFER_LIMIT = 2**31 - 1
"""Bytes of a flatbuffer: its offsets are signed and have 32 bits. Weights may lie behind it."""


class ChannelsLast(nn.Module):
    """An image graph that takes its `image` as (1, S, S, 3), as a camera buffer lies in memory."""

    def __init__(self, channels_first: nn.Module) -> None:
        super().__init__()
        self.channels_first = channels_first

    def forward(self, image: Tensor) -> Any:
        """See the class."""
        return self.channels_first(image.permute(0, 3, 1, 2))


class DrawnChannelsLast(nn.Module):
    """The same of a graph that takes `prompt_masks` (1, S, S, 2) too."""

    def __init__(self, channels_first: nn.Module) -> None:
        super().__init__()
        self.channels_first = channels_first

    def forward(self, image: Tensor, prompt_masks: Tensor) -> Any:
        """See the class."""
        return self.channels_first(image.permute(0, 3, 1, 2), prompt_masks.permute(0, 3, 1, 2))


def lower(graph: Graph, precision: str, folder: Path, options: Options) -> GraphFile:
    """Write `GRAPH.tflite`."""
    del options
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import litert_torch

    spec, module = _channels_last(graph)
    # By keyword, so that the signature's inputs get their names.
    example = {t.name: e for t, e in zip(spec.inputs, graph.example, strict=True)}
    if module is not graph.module:
        example = {name: e.permute(0, 2, 3, 1).contiguous() for name, e in example.items()}
    with absorbed(graph.module), channels_last(graph.module):
        converted = litert_torch.signature(
            spec.name, module.eval(), sample_kwargs=example
        ).convert()
    path = folder / f"{spec.name}.tflite"
    converted.export(str(path))
    _name_outputs(path, spec)
    if precision == "fp16":
        _half(path)
    return GraphFile(spec, path.name, path.stat().st_size, signature=spec.name)


def _channels_last(graph: Graph) -> tuple[GraphSpec, nn.Module]:
    if graph.spec.inputs[0].name != "image":
        return graph.spec, graph.module
    inputs = tuple(map(_moved, graph.spec.inputs))
    wrapper = ChannelsLast if len(inputs) == 1 else DrawnChannelsLast
    return dataclasses.replace(graph.spec, inputs=inputs), wrapper(graph.module)


def _moved(tensor: TensorSpec) -> TensorSpec:
    batch, channels, height, width = tensor.shape
    return TensorSpec(tensor.name, (batch, height, width, channels), tensor.dtype, "NHWC")


def _name_outputs(path: Path, spec: GraphSpec) -> None:
    """Give the signature's outputs their names; the converter calls them `output_0`, `output_1`."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    for signature in model.signatureDefs:
        for entry in signature.outputs:
            name = entry.name.decode() if isinstance(entry.name, bytes) else entry.name
            entry.name = spec.outputs[int(name.removeprefix("output_"))].name
    named = path.with_suffix(".named")
    if path.stat().st_size > FLATBUFFER_LIMIT:
        _write_weights_behind(model, named)
    else:
        flatbuffer_utils.write_model(model, str(named))
    named.replace(path)


def _write_weights_behind(model: Any, path: Path) -> None:
    """Write a model that no flatbuffer holds, as the converter wrote it: its weights behind it.

    `flatbuffer_utils.write_model` puts all of them inside (ViT-H: 2.5 GB). The quantizer writes
    such files, and changes nothing where it is told of no tensor.
    """
    from ai_edge_quantizer import model_modifier

    model_modifier.ModelModifier(model).modify_model({}, serialize_to_path=str(path))


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
