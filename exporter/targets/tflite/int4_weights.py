"""Weights of fully connected layers in 4 bits, in blocks of 32; the others in 8.

A layer whose inputs are no multiple of 32 has 8 bits too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.precision import BLOCK
from exporter.targets import Lowering
from exporter.targets.tflite import int8_weights
from exporter.targets.tflite._quantise import ALL, lower_by, products


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.tflite` with its weights in 4 and 8 bits."""

    def recipe(quantiser: Any, file: GraphFile) -> None:
        int8_weights.recipe(quantiser, file)
        in_4_bits(quantiser, work.folder / file.file)

    return lower_by(work, recipe)


def in_4_bits(quantiser: Any, path: Path) -> None:
    """Ask for 4 bits in fully connected layers of a float32 file, but 8 in those without blocks."""
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    fully = TFLOperationName.FULLY_CONNECTED
    quantiser.add_dynamic_config(ALL, fully, 4, QuantGranularity[f"BLOCKWISE_{BLOCK}"])
    for each in products(path, ["FULLY_CONNECTED"]):
        if each.weight[-1] % BLOCK:
            quantiser.add_dynamic_config(each.pattern, fully, 8)
