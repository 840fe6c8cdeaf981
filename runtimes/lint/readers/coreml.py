"""Core ML packages, by our own reader of their MIL program."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from exporter.bundle.manifest import GraphFile
from runtimes.lint import Network, Operation, Reader, Value
from runtimes.lint.readers import modules_of

KINDS = {
    "reduce_argmax": "argmax",
    "sigmoid_hard": "hard_sigmoid",
    "scaled_dot_product_attention": "attention",
}


def read(path: Path, graph: GraphFile) -> Network:
    """Read a package."""
    del graph
    program = importlib.import_module("runtimes.engines.mil").load_package(path)
    values = {
        port.name: Value(port.name, _sides(port.kind.shape), port.kind.dtype)
        for step in program.graph.steps
        for port in step.outputs
    }
    for given in program.inputs:
        values[given.name] = Value(given.name, _sides(given.shape), given.dtype)
    operations = tuple(
        Operation(
            KINDS.get(step.operation, step.operation),
            step.outputs[0].name,
            tuple(step.reads()),
            tuple(values[port.name] for port in step.outputs),
        )
        for step in program.graph.steps
        if not step.operation.startswith("constexpr_")
    )
    names = [*program.graph.constants, *values]
    return Network(operations, values, modules_of(names))


def _sides(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(-1 if side is None else side for side in shape)


def _missing() -> str | None:
    if importlib.util.find_spec("coremltools") is None:
        return "pip install 'sam-export[run-coreml]'"
    return None


READER = Reader(read, _missing, apple=True, ranges="runtimes.engines.mil.ranges")
