"""Weights in 8 bits, with a scale for each output channel."""

from __future__ import annotations

from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.tflite._quantise import ALL, lower_by


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.tflite` with its weights in 8 bits."""
    return lower_by(work, recipe)


def recipe(quantiser: Any, file: GraphFile) -> None:
    """Store all weights in 8 bits; XNNPACK rounds what fully connected layers take to 8 bits too.

    So those layers run in 8 bits, and need no ranges: each call finds its own.
    """
    from ai_edge_quantizer.qtyping import TFLOperationName

    del file
    quantiser.add_weight_only_config(ALL, TFLOperationName.ALL_SUPPORTED, 8)
    quantiser.add_dynamic_config(ALL, TFLOperationName.FULLY_CONNECTED, 8)
