"""Core AI's reference runtime, computing all half arithmetic as the file says. It takes long."""

from __future__ import annotations

from pathlib import Path

from exporter.bundle.manifest import GraphFile
from runtimes.engines import EngineKind
from runtimes.engines.coreai import CoreaiGraph, missing, open_graph


def _open(path: Path, graph: GraphFile, threads: int) -> CoreaiGraph:
    """Load a function; `threads` has no effect, since the runtime uses one core."""
    return open_graph(path, graph, literal=True)


ENGINE = EngineKind(
    name="coreai-literal",
    target="coreai",
    missing=missing,
    open=_open,
    interprets=True,
    reference=True,
)
