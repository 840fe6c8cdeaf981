"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.errors import BundleError
from runtimes.engines import Array, EngineKind

_ERRORS_ONLY = 3


@dataclass(frozen=True)
class _OrtSession:
    session: Any
    outputs: tuple[str, ...]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Session`."""
        values = self.session.run(list(self.outputs), dict(inputs))
        return dict(zip(self.outputs, values, strict=True))


def _missing() -> str | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return "pip install 'sam-export[onnx]', or onnxruntime alone to run without exporting"
    return None


def _open(path: Path, graph: GraphFile, threads: int) -> _OrtSession:
    import onnxruntime  # sends nothing: see runtimes/__init__.py

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # Its exceptions share no base but Exception; the first line says what, the rest is C++.
        reason = str(error).splitlines()[0]
        raise BundleError(f"onnxruntime cannot load {path}: {reason}") from error
    return _OrtSession(session, tuple(t.name for t in graph.spec.outputs))


ENGINE = EngineKind(name="ort", target="onnx", missing=_missing, open=_open, module="onnxruntime")
