"""Weights in 8 bits, with a scale for each output channel; arithmetic in float16.

Those of linear layers may have a scale for each block (iOS 18), or 6-bit palettes, instead.
"""

from __future__ import annotations

from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering, Options
from exporter.targets.coreml._compress import in_palette, lower_by, scaled, store


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.mlpackage` with its weights in 8 bits."""
    return lower_by(work, lambda model, file, kept: store(model, kept, _linear(work.options)))


def _linear(options: Options) -> Any:
    if options.palette:
        return in_palette(options.palette, options.minimum_ios)
    return scaled(8, options.block) if options.block else None
