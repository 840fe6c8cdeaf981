"""Weights of linear layers in 4 bits, of convolutions in 8, other large constants in float16."""

from __future__ import annotations

from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.onnx._linear import linear_nodes
from exporter.targets.onnx._stored import (
    LEAST_BYTES,
    Weights,
    fits_blocks,
    in_4_bits,
    in_8_bits,
)
from exporter.targets.onnx.fp32 import exported, write
from exporter.targets.onnx.int8_weights import halve_rest


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.onnx` with its weights in 4 and 8 bits."""
    return write(in_smaller_weights(exported(work.graph)), work)


def in_smaller_weights(model: Any) -> Any:
    """Rewrite `model` in place and return it; its value_info types every value."""
    weights = Weights(model)
    for each in list(linear_nodes(model, weights)):
        if each.weight not in weights or weights.values(each.weight).nbytes < LEAST_BYTES:
            continue
        columns = each.node.op_type == "MatMul" and fits_blocks(weights.values(each.weight))
        weights.replace(each.weight, in_4_bits if columns else in_8_bits(each.axis))
    return halve_rest(model, weights)
