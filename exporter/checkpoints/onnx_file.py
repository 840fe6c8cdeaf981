"""Read the weights in an ONNX file. Nothing in it is run, and no other file is opened.

A file is a protobuf message; its fields are walked where they lie. Tensors whose bytes lie in
another file ("external data") name that file by a path, so they are refused.

torch's exporter keeps the names of parameters, except for those it changed: a convolution with its
batch norm folded in has weights named `onnx::Conv_248`, the number being the exporter's count of
values. Numbers differ from release to release; the order of operations does not. So a numbered
tensor is named here after its first use: `Conv.0.1` is input 1 (the weight) of the first `Conv`
that takes a numbered tensor, `Conv.0.2` its bias.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from exporter.checkpoints.budget import LONGEST_NAME, MOST_RANK, MOST_SIDE, Budget
from exporter.checkpoints.contents import ITEM_BYTES, Contents, contiguous
from exporter.checkpoints.protobuf import BYTES, Message, damaged
from exporter.errors import CheckpointError
from exporter.printable import printable

_NUMBERED = re.compile(r"(onnx::\w+_)?\d+")
_NAMED_TYPES = {1: "float32", 10: "float16", 7: "int64", 6: "int32"}
_GRAPH = 7  # of ModelProto
_NODE, _INITIALISER, _SPARSE = 1, 5, 15  # of GraphProto
_NODE_INPUT, _NODE_KIND = 1, 4  # of NodeProto
_DIMS, _KIND, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 8, 9, 13, 14  # of TensorProto
_TYPED = {4: "float32", 5: "int32", 7: "int64"}  # float_data, int32_data, int64_data


@dataclass
class _Tensor:
    """A TensorProto, as far as it is read."""

    name: str = ""
    kind: int = 0
    sides: list[int] = field(default_factory=list)
    raw: Message | None = None
    typed: dict[int, list[int | Message]] = field(default_factory=dict)
    external: bool = False


@dataclass
class _Node:
    """A NodeProto, as far as it is read."""

    kind: str = ""
    inputs: list[str] = field(default_factory=list)


def read_onnx_file(data: mmap.mmap) -> Contents:
    """Find every initialiser of the main graph, by name or by first use.

    Raises:
        CheckpointError: damaged, without weights, with external data or an unknown dtype.
    """
    budget = Budget(len(data))
    graphs = list(_messages(Message(data, 0, len(data)), _GRAPH, budget))
    if len(graphs) > 1:
        raise damaged()
    nodes, initialisers = _graph(graphs[0], budget) if graphs else ([], [])
    names = dict(_names(nodes, initialisers))
    storages: dict[str, memoryview] = {}
    tensors = {}
    for tensor in initialisers:
        name = names.get(tensor.name, tensor.name)
        if name in tensors:
            raise CheckpointError(f"holds two tensors called {printable(name)}")
        dtype = _dtype(name, tensor)
        storages[name] = _bytes(name, tensor, dtype)
        tensors[name] = contiguous(name, dtype, tuple(tensor.sides))
    if not tensors:
        raise CheckpointError("is an ONNX file without weights")
    return Contents({"": tensors}, storages)


def _messages(whole: Message, wanted: int, budget: Budget) -> Iterator[Message]:
    for number, kind, value in whole.fields(budget):
        if number == wanted:
            yield _span(kind, value)


def _span(kind: int, value: int | Message) -> Message:
    if kind != BYTES or not isinstance(value, Message):
        raise damaged()
    return value


def _graph(graph: Message, budget: Budget) -> tuple[list[_Node], list[_Tensor]]:
    nodes, tensors = [], []
    for number, kind, value in graph.fields(budget):
        if number == _NODE:
            nodes.append(_node(_span(kind, value), budget))
        elif number == _INITIALISER:
            budget.describe()
            tensors.append(_tensor(_span(kind, value), budget))
        elif number == _SPARSE:
            raise CheckpointError("holds a sparse tensor, which is not supported")
    return nodes, tensors


def _node(node: Message, budget: Budget) -> _Node:
    found = _Node()
    budget.contain()
    for number, kind, value in node.fields(budget):
        if number == _NODE_INPUT:
            found.inputs.append(_span(kind, value).text(LONGEST_NAME))
        elif number == _NODE_KIND:
            found.kind = _span(kind, value).text(LONGEST_NAME)
    return found


def _tensor(tensor: Message, budget: Budget) -> _Tensor:
    found = _Tensor()
    for number, kind, value in tensor.fields(budget):
        if number == _DIMS:
            _add_sides(found.sides, value)
        elif number == _KIND and isinstance(value, int):
            found.kind = value
        elif number == _NAME:
            found.name = _span(kind, value).text(LONGEST_NAME)
        elif number == _RAW:
            found.raw = _span(kind, value)
        elif number in _TYPED:
            found.typed.setdefault(number, []).append(value)
        elif number == _EXTERNAL or (number == _LOCATION and value != 0):
            found.external = True
    return found


def _add_sides(sides: list[int], value: int | Message) -> None:
    if isinstance(value, Message):
        if len(value) > 10 * MOST_RANK:
            raise damaged()
        sides.extend(value.varints().tolist())
    else:
        sides.append(value)
    if len(sides) > MOST_RANK:
        raise CheckpointError("damaged: a tensor of impossible rank")


def _names(nodes: Iterable[_Node], tensors: Iterable[_Tensor]) -> Iterator[tuple[str, str]]:
    """Pair each numbered initialiser with a name from its first use."""
    numbered = {t.name for t in tensors if _NUMBERED.fullmatch(t.name)}
    seen: dict[str, int] = {}
    for node in nodes:
        slots = [(slot, name) for slot, name in enumerate(node.inputs) if name in numbered]
        if not slots:
            continue
        ordinal = seen.get(node.kind, 0)
        seen[node.kind] = ordinal + 1
        for slot, name in slots:
            numbered.discard(name)
            yield name, f"{node.kind}.{ordinal}.{slot}"


def _dtype(name: str, tensor: _Tensor) -> str:
    if tensor.external:
        raise CheckpointError(
            f"keeps tensor {printable(name, 100)} in another file, which is not read: save the "
            "model whole"
        )
    if tensor.kind not in _NAMED_TYPES:
        kinds = ", ".join(_NAMED_TYPES.values())
        raise CheckpointError(
            f"tensor {printable(name, 100)} has ONNX type {tensor.kind}, not {kinds}"
        )
    return _NAMED_TYPES[tensor.kind]


def _bytes(name: str, tensor: _Tensor, dtype: str) -> memoryview:
    """Find a tensor's bytes, in the raw field or in that of its type."""
    held = tensor.raw.view() if tensor.raw is not None else _typed(tensor, dtype)
    possible = all(0 <= side <= MOST_SIDE for side in tensor.sides)
    if not possible or held.nbytes != math.prod(tensor.sides) * ITEM_BYTES[dtype]:
        raise CheckpointError(f"damaged: tensor {printable(name, 100)} has not the size it says")
    return held


def _typed(tensor: _Tensor, dtype: str) -> memoryview:
    # float16 lies in int32_data, its bits as whole numbers.
    numbers = {"float32": 4, "int64": 7, "int32": 5, "float16": 5}
    parts = tensor.typed.get(numbers[dtype], [])
    if dtype == "float32":
        views = [part.view() for part in parts if isinstance(part, Message)]
        return views[0] if len(views) == 1 else memoryview(bytearray().join(views))
    rows = [
        part.varints() if isinstance(part, Message) else np.array([part], np.uint64).view(np.int64)
        for part in parts
    ]
    whole = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    kind = {"int64": np.int64, "int32": np.int32, "float16": np.uint16}[dtype]
    return memoryview(bytearray(whole.astype(kind).tobytes()))
