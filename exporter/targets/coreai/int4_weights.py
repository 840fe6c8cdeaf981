"""Weights of linear layers in 4 bits, in blocks or as palettes; of convolutions in 8."""

from __future__ import annotations

from exporter.bundle.manifest import GraphFile
from exporter.precision import BLOCK
from exporter.targets import Lowering
from exporter.targets.coreai._weights import in_palette, lower_by, scaled


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.aimodel` with its weights in 4 and 8 bits."""
    palette = work.options.palette
    return lower_by(
        work, in_palette(palette) if palette else scaled(4, work.options.block or BLOCK)
    )
