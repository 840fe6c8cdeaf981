"""Weights of convolutions and linear layers in 8 bits, other large constants in float16.

The arithmetic stays float32 and no call gets slower: see `exporter.targets.onnx._stored`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.onnx._linear import Linear, linear_nodes
from exporter.targets.onnx._stored import (
    LEAST_BYTES,
    Floats,
    Form,
    Weights,
    fits_half,
    halved,
    in_8_bits,
)
from exporter.targets.onnx.fp32 import exported, write


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.onnx` with its weights in 8 bits."""
    model = exported(work.graph)
    return write(in_small_weights(model, kept_weights(model, work)), work)


def kept_weights(model: Any, work: Lowering) -> frozenset[str]:
    """List the weights that stay float; the model is the exporter's."""
    weights = Weights(model)
    layers = [each.weight for each in linear_nodes(model, weights)]
    stay = work.stays_float([weights.values(name).shape for name in layers], absorbs=True)
    return frozenset(name for name, stays in zip(layers, stay, strict=True) if stays)


def in_small_weights(
    model: Any,
    kept: frozenset[str],
    form: Callable[[Linear, Floats], Form] = lambda each, values: in_8_bits(each.axis),
) -> Any:
    """Rewrite `model` in place and return it.

    Args:
        model: its value_info types every value.
        kept: names of weights that go with the other constants.
        form: a convolution or linear layer and its weight -> how that is stored.
    """
    weights = Weights(model)
    for each in list(linear_nodes(model, weights)):
        if each.weight in weights and each.weight not in kept:  # several layers may share one
            values = weights.values(each.weight)
            if values.nbytes >= LEAST_BYTES:
                weights.replace(each.weight, form(each, values))
    for name in weights.names():
        if fits_half(weights.values(name)):
            weights.replace(name, halved)
    weights.finish()
    del model.graph.value_info[:]
    return model
