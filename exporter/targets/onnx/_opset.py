"""The opset a file declares: the lowest that its operations allow, or the one that is asked for.

ONNX Runtime loads a file if it knows the file's opset and IR version; nothing else in a standard
graph makes it need a newer release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

from exporter.errors import RequestError
from exporter.targets import OPSETS

_NEWER_WORDS = frozenset({b"wrap", b"half_pixel_symmetric"})
"""Values of attributes that are newer than the attribute: of Pad and Resize, opset 19."""


def lower_opset(model: Any, asked: int | None) -> Any:
    """Declare the opset and the IR version that goes with it; rewrites in place.

    Args:
        model: an onnx.ModelProto in the newest of `OPSETS`.
        asked: one of `OPSETS`, with operations that it has not written in its own; None for the
            lowest that has every operation as it stands.

    Returns:
        The model.

    Raises:
        RequestError: an operation cannot be written in that opset; the message names it.
    """
    graph = model.graph
    if asked is None:
        asked = next(v for v in OPSETS if all(_has(node, v) for node in graph.node))
    nodes = []
    types = _Types(graph)
    for node in graph.node:
        nodes += [node] if _has(node, asked) else _rewrite(node, asked, graph, types)
        types.add(node)
    _drop_newer_defaults(nodes, asked)
    del graph.node[:]
    graph.node.extend(nodes)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", asked))
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    return model


def _schema(node: Any, version: int) -> Any:
    """Look a node's operation up; None if that opset has none of the name."""
    try:
        return defs.get_schema(node.op_type, version, node.domain)
    except defs.SchemaError:
        return None


def _has(node: Any, version: int) -> bool:
    """Whether an opset has the operation in the form the node uses, with the same meaning.

    An operation's later versions of ours added attributes, inputs, types or words; what a node
    uses of none of them means the same in both.
    """
    written, older = _schema(node, OPSETS[-1]), _schema(node, version)
    if older is None or older.since_version == written.since_version:
        return older is not None
    needed = {a.name for a in node.attribute if not _is_default(a, written)}
    words = {attribute.s for attribute in node.attribute}
    fits: bool = needed <= set(older.attributes) and len(node.input) <= older.max_input
    return fits and not words & _NEWER_WORDS


def _is_default(attribute: Any, schema: Any) -> bool:
    default = schema.attributes[attribute.name].default_value
    value = helper.get_attribute_value
    return default.type == attribute.type and bool(value(default) == value(attribute))


def _drop_newer_defaults(nodes: Iterable[Any], version: int) -> None:
    """Leave out attributes that the opset does not know; `_has` saw that they say nothing."""
    for node in nodes:
        known = _schema(node, version).attributes
        kept = [attribute for attribute in node.attribute if attribute.name in known]
        if len(kept) < len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(kept)


class _Types:
    """Element types of a graph's values, as far as its nodes have been added.

    An operation passes the type of its first input on; a Cast tells its own.
    """

    def __init__(self, graph: Any) -> None:
        self._of: dict[str, int] = {v.name: v.type.tensor_type.elem_type for v in graph.input}
        self._of |= {tensor.name: tensor.data_type for tensor in graph.initializer}

    def add(self, node: Any) -> None:
        """Take a node's outputs in."""
        to = next((a.i for a in node.attribute if node.op_type == "Cast" and a.name == "to"), 0)
        for name in node.output:
            self._of[name] = to or self._of.get(node.input[0] if node.input else "", 0)

    def of(self, name: str) -> int:
        """Look a value's type up."""
        return self._of[name]


def _rewrite(node: Any, version: int, graph: Any, types: _Types) -> list[Any]:
    rewrite = _REWRITES.get(node.op_type)
    nodes = rewrite(node, graph, types) if rewrite else None
    if nodes is None or not all(_has(each, version) for each in nodes):
        newer = ", ".join(str(v) for v in OPSETS if v > version and _has(node, v))
        raise RequestError(
            f"ONNX opset {version} has no {node.op_type} as {node.name!r} needs it; this graph can "
            f"be had in --opset {newer}"
        )
    return nodes


def _gelu(node: Any, graph: Any, types: _Types) -> list[Any] | None:
    """Gelu(x)    becomes    x * (1 + Erf(x / sqrt(2))) * 0.5, its definition, in float32.

    ONNX Runtime makes one operation of it again: in this order, with constants of no dimension, and
    in float32 only. In float16 some of its releases make one that they cannot run on ARM
    (github.com/microsoft/onnxruntime/issues/32386), and sqrt(2) loses half its digits.
    """
    if any(a.name == "approximate" and a.s != b"none" for a in node.attribute):
        return None
    half, (x,), (y,) = types.of(node.input[0]) == TensorProto.FLOAT16, node.input, node.output
    inside, outside = (f"{y}_single", f"{y}_whole") if half else (x, y)
    chain = [
        ("Div", [inside, _scalar(graph, 2**0.5)], f"{y}_scaled"),
        ("Erf", [f"{y}_scaled"], f"{y}_erf"),
        ("Add", [f"{y}_erf", _scalar(graph, 1.0)], f"{y}_share"),
        ("Mul", [inside, f"{y}_share"], f"{y}_double"),
        ("Mul", [f"{y}_double", _scalar(graph, 0.5)], outside),
    ]
    nodes = [helper.make_node(kind, ins, [out], name=f"{out}_gelu") for kind, ins, out in chain]
    if not half:
        return nodes
    return [_cast(x, inside, TensorProto.FLOAT), *nodes, _cast(outside, y, TensorProto.FLOAT16)]


def _cast(value: str, name: str, to: int) -> Any:
    return helper.make_node("Cast", [value], [name], name=f"cast_{name}", to=to)


def _scalar(graph: Any, value: float) -> str:
    """Name a float32 constant without dimensions, adding it once."""
    name = f"sam_export.gelu.{value:.3g}"  # no name that torch makes
    if all(tensor.name != name for tensor in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return name


def _reduce(node: Any, graph: Any, types: _Types) -> list[Any] | None:
    """Reduce(x, axes)    becomes    Reduce(x) with an attribute `axes`, as before opset 18."""
    del types
    constants = {tensor.name: tensor for tensor in graph.initializer}
    axes = constants.get(node.input[1]) if len(node.input) == 2 else None
    if axes is None:
        return None
    older = onnx.NodeProto()
    older.CopyFrom(node)
    del older.input[1:]
    older.attribute.append(helper.make_attribute("axes", numpy_helper.to_array(axes).tolist()))
    return [older]


_REWRITES: dict[str, Callable[[Any, Any, _Types], list[Any] | None]] = {
    "Gelu": _gelu,
    "ReduceMean": _reduce,
    "ReduceMax": _reduce,
}
"""Operation -> what writes a node of it in an older opset; None if it cannot."""
