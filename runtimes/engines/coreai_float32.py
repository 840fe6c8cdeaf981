"""Core AI's reference runtime, computing half arithmetic in float32: about as quick as fp32."""

from __future__ import annotations

from pathlib import Path

from exporter.bundle.manifest import GraphFile
from runtimes.engines import EngineKind
from runtimes.engines.coreai import CoreaiGraph, missing, open_graph


def _open(path: Path, graph: GraphFile, threads: int) -> CoreaiGraph:
    """Load a function; `threads` has no effect, since the runtime uses one core."""
    return open_graph(path, graph, literal=False)


ENGINE = EngineKind(
    name="coreai-float32",
    target="coreai",
    missing=missing,
    open=_open,
    interprets=True,
    reference=True,
)
