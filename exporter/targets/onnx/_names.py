"""Short names for what a session folds: nobody meets them, and they are 5 % of a small file.

Operations of a graph's inputs, and the constants that they read, keep the names that torch gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

WIDENED = "_DequantizeLinear_Output"
"""ONNX Runtime's quantiser adds it to the name of a weight that is stored small."""


def shorten_names(model: Any) -> None:
    """Rename in place the values and nodes of an onnx.ModelProto that depend on constants alone.

    The last value of such a chain is the constant that an operation reads, and has its name.
    """
    graph = model.graph
    live = {value.name for value in graph.input}
    folded, read = list[Any](), {value.name for value in graph.output}
    for node in graph.node:
        if live.intersection(node.input):
            live.update(node.output)
            read.update(node.input)
        else:
            folded.append(node)
    inner = dict.fromkeys(name for node in folded for name in (*node.input, *node.output) if name)
    taken = read | live | {tensor.name for tensor in graph.initializer}
    free = _free_names(taken)
    renamed = {name: next(free) for name in inner if name not in read}
    for name in inner:
        plain = name.removesuffix(WIDENED)
        if name in read and plain not in taken - renamed.keys():
            renamed[name] = plain
    _rename(graph, renamed)
    for node in folded:
        node.name = next(free)


def _free_names(taken: set[str]) -> Iterator[str]:
    return (name for at in count() if (name := f"k{at}") not in taken)


def _rename(graph: Any, renamed: dict[str, str]) -> None:
    for node in graph.node:
        for values in (node.input, node.output):
            for at, name in enumerate(values):
                values[at] = renamed.get(name, name)
    for item in (*graph.initializer, *graph.value_info):
        item.name = renamed.get(item.name, item.name)
