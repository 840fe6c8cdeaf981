"""Weights of convolutions and linear layers in 8 bits, other large constants in float16.

The arithmetic stays float32 and no call gets slower: see `exporter.targets.onnx._stored`.
"""

from __future__ import annotations

from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.onnx._linear import linear_nodes
from exporter.targets.onnx._stored import (
    LEAST_BYTES,
    Weights,
    fits_half,
    halved,
    in_8_bits,
)
from exporter.targets.onnx.fp32 import exported, write


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.onnx` with its weights in 8 bits."""
    return write(in_small_weights(exported(work.graph)), work)


def in_small_weights(model: Any) -> Any:
    """Rewrite `model` in place and return it; its value_info types every value."""
    weights = Weights(model)
    for each in list(linear_nodes(model, weights)):
        if each.weight in weights and weights.values(each.weight).nbytes >= LEAST_BYTES:
            weights.replace(each.weight, in_8_bits(each.axis))
    return halve_rest(model, weights)


def halve_rest(model: Any, weights: Weights) -> Any:
    """Store the constants that are left in float16, and end the rewriting."""
    for name in weights.names():
        if fits_half(weights.values(name)):
            weights.replace(name, halved)
    weights.finish()
    del model.graph.value_info[:]
    return model
