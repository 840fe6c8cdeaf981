"""Count the parts of a lowered graph: operations by type, highest rank, XNNPACK partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from exporter.errors import RequestError
from profiles.lab.bench.rows import COUNTED, BenchRow
from runtimes.engines.mil import load_package

DELEGATE = "DELEGATE"
Reader = TypeVar("Reader")


@dataclass(frozen=True)
class Count:
    """Counts of one file.

    Attributes:
        operations: type -> number of occurrences, without constants.
        max_rank: the highest of any tensor.
        partitions: number of partitions that XNNPACK runs; None for other formats.
        outside: operations by type that XNNPACK leaves to the interpreter; None for other formats.
    """

    operations: dict[str, int]
    max_rank: int
    partitions: int | None = None
    outside: dict[str, int] | None = None


def count_row(row: BenchRow, folder: Path, lowered: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Count in every lowered file of a row, plain exports included."""
    found = []
    for key, entry in lowered.items():
        if "error" in entry:
            continue
        path = folder / key / entry["file"]["file"]
        precision = COUNTED[key][1] if key in COUNTED else "fp32"
        figures = asdict(count(path))
        found.append({"row": row.name, "file": key, "precision": precision, **figures})
    return found


def count(path: Path) -> Count:
    """Count in a file, by its suffix. RequestError if nothing here reads such files."""
    readers = {".tflite": count_tflite, ".onnx": count_onnx, ".mlpackage": count_coreml}
    return choose_reader(path, readers, "profiles/lab/bench/operations.py")(path)


def choose_reader(path: Path, readers: Mapping[str, Reader], home: str) -> Reader:
    """Look up the reader of a file's format. RequestError if `home` has none."""
    if path.suffix not in readers:
        raise RequestError(f"nothing counts operations in {path.suffix} files: add it to {home}")
    return readers[path.suffix]


def count_tflite(path: Path) -> Count:
    """Count in a TFLite file as LiteRT partitions it on this machine."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()
    own = [node for node in nodes if node["op_name"] != DELEGATE]
    ranks = (len(tensor["shape"]) for tensor in interpreter.get_tensor_details())
    return Count(
        operations=_by_type(node["op_name"] for node in own),
        max_rank=max(ranks, default=0),
        partitions=len(nodes) - len(own),
        outside=_by_type(node["op_name"] for node in outside_delegates(nodes)),
    )


def outside_delegates(nodes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """List the nodes that no DELEGATE node replaces.

    LiteRT also lists replaced nodes. A partition holds the nodes whose results lead to one of its
    outputs without passing one of its inputs.
    """
    nodes = list(nodes)
    own = [node for node in nodes if node["op_name"] != DELEGATE]
    maker = {int(t): i for i, node in enumerate(own) for t in node["outputs"]}
    inside: set[int] = set()
    for partition in (node for node in nodes if node["op_name"] == DELEGATE):
        border = {int(t) for t in partition["inputs"]}
        waiting = [int(t) for t in partition["outputs"]]
        while waiting:
            index = maker.get(waiting.pop())
            if index is None or index in inside:
                continue
            inside.add(index)
            waiting += [int(t) for t in own[index]["inputs"] if int(t) not in border]
    return [node for i, node in enumerate(own) if i not in inside]


def count_onnx(path: Path) -> Count:
    """Count what an ONNX file computes of its inputs; ONNX Runtime fuses some of it when it loads.

    What it computes of constants alone, as weights that are stored small, is folded then.
    """
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    typed = (*graph.input, *graph.output, *graph.value_info)
    ranks = [len(value.type.tensor_type.shape.dim) for value in typed]
    ranks += [len(tensor.dims) for tensor in graph.initializer]
    live = {value.name for value in graph.input}
    types: list[str] = []
    for node in graph.node:
        if live.intersection(node.input):
            live.update(node.output)
            types.append(node.op_type)
    return Count(_by_type(types), max(ranks, default=0))


def count_coreml(path: Path) -> Count:
    """Count in a MIL program; constants are not operations."""
    program = load_package(path)
    return Count(dict(sorted(program.operation_counts.items())), program.max_rank)


def _by_type(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
