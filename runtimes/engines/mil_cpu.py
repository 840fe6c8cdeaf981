"""Core ML packages on any machine: our own numpy interpreter of their MIL program."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter.bundle.layouts import Array
from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec
from exporter.errors import BundleError
from runtimes.engines import AGAIN, EngineKind


@dataclass(frozen=True)
class _MilGraph:
    program: Any
    spec: GraphSpec

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `LoadedGraph`. A pixel buffer's bytes reach the program as floats, as in Core ML."""
        floats = {name: array.astype(np.float32, copy=False) for name, array in inputs.items()}
        try:
            results = self.program.run(floats)
        except RuntimeError as error:
            raise BundleError(f"cannot run {self.spec.name}: {error}") from error
        return {t.name: np.asarray(results[t.name]).astype(t.dtype) for t in self.spec.outputs}


def _missing() -> str | None:
    # Only coremltools' message classes are used, to parse the package.
    if importlib.util.find_spec("coremltools") is None:
        return "pip install 'sam-export[run-coreml]'"
    return None


def _open(path: Path, graph: GraphFile, threads: int) -> _MilGraph:
    """Load a package; `threads` has no effect, since numpy's BLAS has its own."""
    mil = importlib.import_module("runtimes.engines.mil")
    try:
        return _MilGraph(mil.load_package(path), graph.spec)
    except RuntimeError as error:  # MilError, whose name only the lazy import knows
        raise BundleError(f"cannot read {path}: {error}; {AGAIN}") from error


ENGINE = EngineKind(name="mil", target="coreml", missing=_missing, open=_open, interprets=True)
