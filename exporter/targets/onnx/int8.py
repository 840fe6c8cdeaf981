"""Convolutions and linear layers in 8 bits, weights and activations; all else float32.

    x (f32) -> Q -> DQ -> [Conv, weight DQ] -> Q -> DQ -> y (f32)
    x (f32) -> Q -> DQ -> [MatMul, weight DQ] -> y (f32)

ONNX Runtime makes one integer operation of such a group. A MatMul's gives float32, so its output is
not rounded. Products of two activations (attention), norms and softmax stay float32: in 8 bits they
cost accuracy and gain no speed.
"""

from __future__ import annotations

from collections import Counter
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

FLOAT_OUTPUTS = frozenset({"MatMul", "Gemm"})
GELU_ENDS = -4.0
"""From here on down GELU is between -1.3e-4 and 0."""
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
    keep_biases_apart(model, chosen)
    with _saved(model, work) as file:
        ranges = work.find_ranges(RANGES_MODULE, file, rounded(chosen))
    ranges = without_flat_ends(model, ranges)
    return write(in_small_weights(_typed(quantise(model, chosen, ranges)), kept), work)


def rounded(chosen: list[Linear]) -> list[str]:
    """List the values that are rounded: inputs of nodes, and outputs of convolutions."""
    nodes = [each.node for each in chosen]
    outputs = [node.output[0] for node in nodes if node.op_type not in FLOAT_OUTPUTS]
    return list(dict.fromkeys([*(node.input[0] for node in nodes), *outputs]))


def without_flat_ends(model: Any, ranges: dict[str, Range]) -> dict[str, Range]:
    """Cut the ranges of what only GELU reads at GELU_ENDS, under which it gives nothing.

    A convolution's outputs may reach far below, and every step of 8 bits counts.
    """
    kinds: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            kinds.setdefault(name, set()).add(node.op_type)
    return {
        name: Range(max(each.low, GELU_ENDS), each.high)
        if kinds.get(name) == {"Gelu"} and each.high > GELU_ENDS
        else each
        for name, each in ranges.items()
    }


def quantise(model: Any, chosen: list[Linear], ranges: dict[str, Range]) -> Any:
    """Put Q and DQ around nodes, by ONNX Runtime's quantiser and our ranges.

    Args:
        model: float32, with names for its nodes.
        chosen: the nodes.
        ranges: of the values that `rounded` lists.
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
        extra_options={
            "MatMulConstBOnly": True,
            "OpTypesToExcludeOutputQuantization": sorted(FLOAT_OUTPUTS),
        },
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    return quantiser.model.model


def keep_biases_apart(model: Any, chosen: list[Linear]) -> None:
    """Give the biases that are added to products the products' rank; rewrites in place.

    ONNX Runtime makes one Gemm of MatMul and Add if the bias is a vector, and has no integer Gemm
    with a float bias: of the product alone it makes an integer one.

    Args:
        model: its value_info types every value.
        chosen: nodes of it.
    """
    graph = model.graph
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in graph.value_info}
    vectors = {t.name: t for t in graph.initializer if len(t.dims) == 1}
    readers = Counter(name for node in graph.node for name in node.input)
    products = {each.node.output[0] for each in chosen if each.node.op_type == "MatMul"}
    for node in graph.node:
        if node.op_type != "Add" or not products.intersection(node.input):
            continue
        for bias in vectors.keys() & set(node.input):
            if readers[bias] == 1:
                vectors[bias].dims[:] = [1] * (ranks[node.output[0]] - 1) + [*vectors[bias].dims]


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
