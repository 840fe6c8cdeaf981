"""Weights in 8 bits, with a scale for each output channel; arithmetic in float16.

Those of linear layers may have a scale for each block, or 6-bit palettes, instead.
"""

from __future__ import annotations

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.coreai._weights import in_palette, lower_by, scaled


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.aimodel` with its weights in 8 bits."""
    palette = work.options.palette
    return lower_by(work, in_palette(palette) if palette else scaled(8, work.options.block))
