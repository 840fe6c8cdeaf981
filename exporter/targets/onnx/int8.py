"""Convolutions and linear layers in 8 bits, weights and activations; all else float32.

    x (f32) -> Q -> DQ -> [Conv, weight DQ] -> Q -> DQ -> y (f32)

ONNX Runtime makes one integer operation of such a group. Products of two activations (attention),
norms and softmax stay float32: in 8 bits they cost accuracy and gain no speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.calibration import Range
from exporter.targets import Lowering
from exporter.targets.onnx._linear import KINDS, Linear, linear_nodes
from exporter.targets.onnx._stored import Weights
from exporter.targets.onnx.fp32 import exported, write
from exporter.targets.onnx.int8_weights import in_small_weights, kept_weights

RANGES_MODULE = "exporter.targets.onnx._ranges"


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.onnx` with 8-bit convolutions and linear layers."""
    model = exported(work.graph)
    kept = kept_weights(model, work)
    chosen = [
        each
        for each in linear_nodes(model, Weights(model))
        if each.node.op_type != "ConvTranspose"
        and each.weight not in kept
        and not work.is_fine(each.positions)
    ]
    if not chosen:  # to the quantiser, no nodes are all nodes
        return write(in_small_weights(model, kept), work)
    names = list(dict.fromkeys(v for c in chosen for v in (c.node.input[0], c.node.output[0])))
    with _saved(model, work) as file:
        ranges = work.find_ranges(RANGES_MODULE, file, names)
    return write(in_small_weights(_typed(quantise(model, chosen, ranges)), kept), work)


def quantise(model: Any, chosen: list[Linear], ranges: dict[str, Range]) -> Any:
    """Put Q and DQ around nodes, by ONNX Runtime's quantiser and our ranges.

    Args:
        model: float32, with names for its nodes.
        chosen: the nodes.
        ranges: of their inputs and outputs.
    """
    import numpy as np
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    del model.graph.value_info[:]
    sides = {name: (np.float32(r.low), np.float32(r.high)) for name, r in ranges.items()}
    quantiser = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, sides),
        nodes_to_quantize=[each.node.name for each in chosen],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted(KINDS),
        extra_options={"MatMulConstBOnly": True},
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    return quantiser.model.model


@contextmanager
def _saved(model: Any, work: Lowering) -> Iterator[GraphFile]:
    """Within it, the float model is a file for the process that finds ranges."""
    path = work.folder / "float.onnx"
    path.write_bytes(model.SerializeToString())
    try:
        yield GraphFile(work.graph.spec, path.name, path.stat().st_size)
    finally:
        path.unlink()


def _typed(model: Any) -> Any:
    import onnx

    return onnx.shape_inference.infer_shapes(model)
