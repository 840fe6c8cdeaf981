"""Weights of linear layers in 4 bits, in blocks (iOS 18) or as palettes; of convolutions in 8."""

from __future__ import annotations

from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.precision import BLOCK
from exporter.targets import Lowering, Options
from exporter.targets.coreml._compress import in_palette, lower_by, scaled, store


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.mlpackage` with its weights in 4 and 8 bits."""
    return lower_by(work, lambda model, file, kept: store(model, kept, _linear(work.options)))


def _linear(options: Options) -> Any:
    if options.palette:
        return in_palette(options.palette, options.minimum_ios)
    return scaled(4, options.block or BLOCK)
