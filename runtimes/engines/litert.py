"""LiteRT (formerly TensorFlow Lite) on the CPU."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.bundle.layouts import Array
from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import BundleError
from runtimes import chatter
from runtimes.engines import AGAIN, EngineKind

INSTALL = "pip install 'sam-export[run-tflite]'"
# The same Interpreter under its present and its former name.
_PACKAGES = ("ai_edge_litert", "tflite_runtime")


@dataclass(frozen=True)
class _SignatureGraph:
    """Calls a named signature; `inputs` and `outputs` map the spec's names to the file's."""

    runner: Any
    inputs: dict[str, str]
    outputs: dict[str, str]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `LoadedGraph`."""
        results = self.runner(**{self.inputs[name]: array for name, array in inputs.items()})
        return {name: results[inner] for name, inner in self.outputs.items()}


@dataclass(frozen=True)
class _PositionalGraph:
    """A file without signatures: inputs and outputs are in the order of the spec."""

    interpreter: Any
    inputs: dict[str, int]
    outputs: dict[str, int]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `LoadedGraph`."""
        for name, array in inputs.items():
            self.interpreter.set_tensor(self.inputs[name], array)
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(at) for name, at in self.outputs.items()}


def _package() -> str | None:
    return next((name for name in _PACKAGES if importlib.util.find_spec(name)), None)


def _missing() -> str | None:
    return None if _package() else INSTALL


def _open(path: Path, graph: GraphFile, threads: int) -> _SignatureGraph | _PositionalGraph:
    interpreter_type = importlib.import_module(f"{_package()}.interpreter").Interpreter
    try:
        with chatter.without(lambda line: line.startswith(b"INFO: ")):
            interpreter = interpreter_type(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
        if graph.signature in interpreter.get_signature_list():
            return _by_signature(interpreter.get_signature_runner(graph.signature), graph.spec)
    except (ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise BundleError(f"LiteRT cannot load {path}: {reason}; {AGAIN}") from error
    return _PositionalGraph(
        interpreter,
        _by_position(graph.spec.inputs, interpreter.get_input_details()),
        _by_position(graph.spec.outputs, interpreter.get_output_details()),
    )


def _by_signature(runner: Any, spec: GraphSpec) -> _SignatureGraph:
    inputs = _pair(spec.inputs, list(runner.get_input_details()))
    outputs = _pair(spec.outputs, list(runner.get_output_details()))
    return _SignatureGraph(runner, inputs, outputs)


def _pair(specs: tuple[TensorSpec, ...], inner: list[str]) -> dict[str, str]:
    """Map the spec's names to a signature's: the same, or numbered (`args_0`, `output_1`)."""
    wanted = [t.name for t in specs]
    if set(wanted) == set(inner):
        return {name: name for name in wanted}
    if len(wanted) != len(inner):
        raise BundleError(f"a signature has {', '.join(inner)} where {', '.join(wanted)} should be")
    return dict(zip(wanted, sorted(inner, key=_number), strict=True))


def _number(name: str) -> tuple[int, str]:
    digits = re.findall(r"\d+", name)
    return (int(digits[-1]) if digits else -1, name)


def _by_position(specs: tuple[TensorSpec, ...], details: list[dict[str, Any]]) -> dict[str, int]:
    if len(specs) != len(details):
        raise BundleError(f"a graph has {len(details)} tensors where {len(specs)} should be")
    return {t.name: int(d["index"]) for t, d in zip(specs, details, strict=True)}


ENGINE = EngineKind(
    name="litert",
    target="tflite",
    missing=_missing,
    open=_open,
    module="ai_edge_litert.interpreter",
)
