"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.bundle.layouts import Array
from exporter.bundle.manifest import GraphFile
from exporter.errors import BundleError
from runtimes.engines import AGAIN, EngineKind

_ERRORS_ONLY = 3


@dataclass(frozen=True)
class _OrtGraph:
    session: Any
    outputs: tuple[str, ...]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `LoadedGraph`."""
        values = self.session.run(list(self.outputs), dict(inputs))
        return dict(zip(self.outputs, values, strict=True))


def _missing() -> str | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return "pip install 'sam-export[run-onnx]'"
    return None


def _open(path: Path, graph: GraphFile, threads: int) -> _OrtGraph:
    import onnxruntime  # sends nothing: see runtimes/__init__.py

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    # Else its threads wait for work some 20 ms after a call, on a core that the next one needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # From the second picture on it takes one block for all that a run needs, beside what the first
    # run took: 862 MB, not 663 (`python -m profiles.lab.everything.speed`), and no time saved.
    options.enable_mem_pattern = graph.spec.runs != "image"
    try:
        session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # Its exceptions share no base but Exception; the first line is the error, the rest C++.
        reason = str(error).splitlines()[0]
        raise BundleError(f"onnxruntime cannot load {path}: {reason}; {AGAIN}") from error
    return _OrtGraph(session, tuple(t.name for t in graph.spec.outputs))


ENGINE = EngineKind(name="ort", target="onnx", missing=_missing, open=_open, module="onnxruntime")
