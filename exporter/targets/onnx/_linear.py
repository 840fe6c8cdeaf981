"""The convolutions and linear layers of an ONNX graph: what 8 and 4 bits are for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from exporter.targets.onnx._stored import Weights

KINDS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})


@dataclass(frozen=True)
class Linear:
    """One node with a constant weight.

    Attributes:
        axis: of the weight, its output channels.
        positions: of its input: a pixel of a map, or a token.
    """

    node: Any
    weight: str
    axis: int
    positions: int


def linear_nodes(model: Any, weights: Weights) -> Iterator[Linear]:
    """Find them, in execution order.

    Args:
        model: an onnx.ModelProto whose value_info types every value.
        weights: of that model. A product of two activations has none, and is left out.
    """
    typed = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in typed}
    for node in model.graph.node:
        if node.op_type in KINDS and node.input[1] in weights:
            weight = node.input[1]
            rank = weights.values(weight).ndim
            yield Linear(node, weight, _axis(node, rank), _positions(node, shapes[node.input[0]]))


def _axis(node: Any, rank: int) -> int:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else rank - 1


def _positions(node: Any, shape: list[int]) -> int:
    """How many there are, of an input of NCHW or of rows that end with the channels."""
    sides = shape[2:] if node.op_type.startswith("Conv") else shape[:-1]
    return math.prod(sides)
