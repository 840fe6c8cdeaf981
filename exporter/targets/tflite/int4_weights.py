"""Weights of fully connected layers in 4 bits, in blocks of 32; the others in 8."""

from __future__ import annotations

from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.tflite._quantise import ALL, lower_by


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.tflite` with its weights in 4 and 8 bits."""
    return lower_by(work, recipe)


def recipe(quantiser: Any, file: GraphFile) -> None:
    """As for `int8-weights`, but 4 bits for fully connected layers."""
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    del file
    quantiser.add_weight_only_config(ALL, TFLOperationName.ALL_SUPPORTED, 8)
    fully = TFLOperationName.FULLY_CONNECTED
    quantiser.add_dynamic_config(ALL, fully, 4, QuantGranularity.BLOCKWISE_32)
