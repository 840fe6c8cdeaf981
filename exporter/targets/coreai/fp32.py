"""A torch graph -> a float32 .aimodel with one function, by Apple's converter."""

from __future__ import annotations

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.coreai._asset import save
from exporter.targets.coreai._program import convert, exported


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.aimodel` in float32."""
    return save(convert(exported(work.graph), work.graph.spec), work)
