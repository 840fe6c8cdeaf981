"""Weights of linear layers in 4 bits, in blocks of 32, of convolutions in 8. Needs iOS 18."""

from __future__ import annotations

from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.coreml._compress import in_4_bits, in_8_bits, lower_by


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.mlpackage` with its weights in 4 and 8 bits."""
    return lower_by(work, compress)


def compress(model: Any, file: GraphFile, kept: Any) -> Any:
    """Store the weights of linear layers in 4 bits, the other large ones in 8.

    coremltools leaves a weight alone whose width no block divides, so the second pass takes it.
    """
    import coremltools.optimize.coreml as opt

    del file
    few = opt.OptimizationConfig(op_type_configs={"linear": in_4_bits()}, op_name_configs=kept)
    rest = opt.OptimizationConfig(global_config=in_8_bits(), op_name_configs=kept)
    return opt.linear_quantize_weights(opt.linear_quantize_weights(model, few), rest)
