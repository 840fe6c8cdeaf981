"""Convolutions and fully connected layers in 8 bits, weights and activations; all else float.

Inputs and outputs stay float32. Where positions are fine (`Lowering.is_fine`), one range for all of
them costs masks: 1 x 1 convolutions there that spread channels become fully connected layers, which
find a range for each position as they run; others compute in float.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.tflite._pointwise import to_linear
from exporter.targets.tflite._quantise import ALL, PRODUCTS, lower_by, products

RANGES_MODULE = "exporter.targets.tflite._ranges"


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.tflite` with 8-bit convolutions and fully connected layers."""

    def recipe(quantiser: Any, file: GraphFile) -> dict[str, Any]:
        from ai_edge_quantizer.qtyping import TFLOperationName

        path = work.folder / file.file
        to_linear(path, work.is_fine)
        every = list(products(path))
        quantiser.add_weight_only_config(ALL, TFLOperationName.ALL_SUPPORTED, 8)
        for kind in PRODUCTS:
            quantiser.add_static_config(ALL, TFLOperationName[kind], 8, 8)
        for each in every:
            if work.is_fine(each.positions):
                linear = each.kind == "FULLY_CONNECTED"
                add = quantiser.add_dynamic_config if linear else quantiser.add_weight_only_config
                add(each.pattern, TFLOperationName[each.kind], 8)
        for border in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            quantiser.add_quantization_config(ALL, border, algorithm_key="no_quantize")
        watched = dict.fromkeys(name for each in every for name in (each.input, each.output))
        found = work.find_ranges(RANGES_MODULE, file, watched)
        return {
            name: {"min": np.array([each.low]), "max": np.array([each.high])}
            for name, each in found.items()
        }

    return lower_by(work, recipe)
