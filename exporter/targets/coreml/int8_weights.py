"""Weights in 8 bits, with a scale for each output channel; arithmetic in float16."""

from __future__ import annotations

from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.coreml._compress import in_8_bits, lower_by


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.mlpackage` with its weights in 8 bits."""
    return lower_by(work, compress)


def compress(model: Any, file: GraphFile, kept: Any) -> Any:
    """Store every large weight in 8 bits, but those of operations in `kept`."""
    import coremltools.optimize.coreml as opt

    del file
    asked = opt.OptimizationConfig(global_config=in_8_bits(), op_name_configs=kept)
    return opt.linear_quantize_weights(model, asked)
