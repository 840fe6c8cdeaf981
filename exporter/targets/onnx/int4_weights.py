"""Weights of linear layers in 4 bits, of convolutions in 8, other large constants in float16."""

from __future__ import annotations

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.onnx._linear import Linear
from exporter.targets.onnx._stored import Floats, Form, fits_blocks, in_4_bits, in_8_bits
from exporter.targets.onnx.fp32 import exported, write
from exporter.targets.onnx.int8_weights import in_small_weights, kept_weights


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.onnx` with its weights in 4 and 8 bits."""
    model = exported(work.graph)
    return write(in_small_weights(model, kept_weights(model, work), _form), work)


def _form(each: Linear, values: Floats) -> Form:
    columns = each.node.op_type == "MatMul" and fits_blocks(values)
    return in_4_bits if columns else in_8_bits(each.axis)
