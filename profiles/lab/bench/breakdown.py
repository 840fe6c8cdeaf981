"""Where the time of a .tflite file goes: each operation as a file of its own, timed alone.

LiteRT's Python package has no profile of operations. Alone, an operation reads the caller's inputs
and writes its output anew; in the whole graph XNNPACK saves some of that (it reshapes in place), so
the whole is timed beside the sum of its parts.
"""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from profiles.lab.bench.rows import BenchRow

THREADS = 1
"""One, so that processor time says how long a call takes whatever else the machine does."""
SECONDS = 0.1
CALLS = 10
PRODUCTS = frozenset({"BATCH_MATMUL", "FULLY_CONNECTED"})


@dataclass(frozen=True)
class Operation:
    """Operations of one kind and shape.

    Attributes:
        kind: as TFLite calls it.
        shapes: of its inputs, then of its output: `1x4096x256 256x104 1x4096x104`.
        count: how many the file has.
        ms: processor time of one, in its fastest call.
        gflop: billions of floating-point operations of one, for a matrix product; else 0.
    """

    kind: str
    shapes: str
    count: int
    ms: float
    gflop: float


def break_down_row(row: BenchRow, folder: Path, lowered: Mapping[str, Any]) -> dict[str, Any]:
    """Time the row's float32 .tflite file and its operations."""
    path = folder / "tflite" / lowered["tflite"]["file"]["file"]
    parts = [asdict(operation) for operation in break_down(path)]
    whole = _fastest(path.read_bytes())
    return {"row": row.name, "threads": THREADS, "whole_ms": whole, "operations": parts}


def break_down(path: Path) -> list[Operation]:
    """Time every kind and shape of operation in a file."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    (graph,) = model.subgraphs
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    examples: dict[tuple[Any, ...], Any] = {}
    counts: Counter[tuple[Any, ...]] = Counter()
    for operator in graph.operators:
        kind = names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
        shapes = tuple(tuple(int(side) for side in tensor.shape) for tensor in tensors)
        # Beside shapes, what is constant decides: XNNPACK packs a constant weight beforehand.
        key = (kind, shapes, tuple(_is_constant(model, tensor) for tensor in tensors))
        examples.setdefault(key, operator)
        counts[key] += 1
    return [
        Operation(
            kind,
            _spell_shapes(shapes),
            counts[key],
            _fastest(alone(model, examples[key])),
            _gflop(*key),
        )
        for key in examples
        for kind, shapes, _ in [key]
    ]


def _spell_shapes(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " ".join("x".join(map(str, shape)) for shape in shapes)


def _gflop(kind: str, shapes: tuple[tuple[int, ...], ...], *_: object) -> float:
    terms = shapes[0][-1] if kind in PRODUCTS else 0
    return 2e-9 * math.prod(shapes[-1]) * terms


def _is_constant(model: Any, tensor: Any) -> bool:
    return model.buffers[tensor.buffer].data is not None


def alone(model: Any, operator: Any) -> bytes:
    """Cut out a .tflite file of one operation; its inputs that are no constants stay inputs."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    (graph,) = model.subgraphs
    # An input that is left out is -1.
    read = [i for i in dict.fromkeys(map(int, operator.inputs)) if i >= 0]
    places = {index: place for place, index in enumerate((*read, *map(int, operator.outputs)))}
    single, part = schema.ModelT(), schema.SubGraphT()
    single.version, single.operatorCodes = model.version, model.operatorCodes
    single.buffers, single.subgraphs = [schema.BufferT()], [part]
    part.tensors = []
    for index in places:
        tensor = copy.copy(graph.tensors[index])
        if _is_constant(model, tensor):
            single.buffers.append(model.buffers[tensor.buffer])
            tensor.buffer = len(single.buffers) - 1
        else:
            tensor.buffer = 0
        part.tensors.append(tensor)
    step = copy.copy(operator)
    step.inputs = [places.get(int(i), -1) for i in operator.inputs]
    step.outputs = [places[int(i)] for i in operator.outputs]
    part.operators = [step]
    part.inputs = [places[i] for i in read if not _is_constant(model, graph.tensors[i])]
    part.outputs = step.outputs
    return bytes(flatbuffer_utils.convert_object_to_bytearray(single))


def _fastest(data: bytes) -> float:
    """Processor time of the fastest call in ms, of `CALLS` at least and for `SECONDS` at least."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=THREADS)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        values = rng.standard_normal(detail["shape"]).astype(detail["dtype"])
        interpreter.set_tensor(detail["index"], values)
    took: list[float] = []
    interpreter.invoke()
    while len(took) < CALLS or sum(took) < SECONDS:
        start = time.process_time()
        interpreter.invoke()
        took.append(time.process_time() - start)
    return min(took) * 1e3
