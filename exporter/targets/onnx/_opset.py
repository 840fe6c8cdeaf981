"""The opset a file declares: the lowest that its operations allow, or the one that is asked for.

ONNX Runtime loads a file if it knows the file's opset and IR version; nothing else in a standard
graph makes it need a newer release.
"""

from __future__ import annotations

import functools
import math
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
            lowest that has each as one operation.

    Returns:
        The model.

    Raises:
        RequestError: an operation cannot be written in that opset; the message names it.
    """
    graph = model.graph
    if asked is None:
        asked = next(v for v in OPSETS if _is_free(model, v))
    nodes = _nodes(model, asked)
    _drop_newer_defaults(nodes, asked)
    del graph.node[:]
    graph.node.extend(nodes)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", asked))
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    return model


def _is_free(model: Any, version: int) -> bool:
    """Whether an opset has every operation, as it stands or in a form that costs nothing."""
    if not all(_has(node, version) or node.op_type in _FREE for node in model.graph.node):
        return False
    try:
        _nodes(model, version)
    except RequestError:
        return False
    return True


def _nodes(model: Any, version: int) -> list[Any]:
    """Write every node for an opset. RequestError if one cannot be."""
    nodes, values = list[Any](), _Values(model)
    for node in model.graph.node:
        nodes += [node] if _has(node, version) else _rewrite(node, version, values)
        values.add(node)
    return nodes


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
    if attribute.name not in schema.attributes:  # an older form, as we write it
        return False
    default, value = schema.attributes[attribute.name].default_value, helper.get_attribute_value
    return default.type == attribute.type and bool(value(default) == value(attribute))


def _drop_newer_defaults(nodes: Iterable[Any], version: int) -> None:
    """Leave out attributes that the opset does not know; `_has` saw that they say nothing."""
    for node in nodes:
        known = _schema(node, version).attributes
        kept = [attribute for attribute in node.attribute if attribute.name in known]
        if len(kept) < len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(kept)


class _Values:
    """A model's values: element types of the nodes added so far, constants, lengths.

    An operation passes the type of its first input on; a Cast tells its own.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._graph = model, model.graph
        self._types: dict[str, int] = {
            value.name: value.type.tensor_type.elem_type for value in self._graph.input
        }
        self._types |= {tensor.name: tensor.data_type for tensor in self._graph.initializer}

    def add(self, node: Any) -> None:
        """Take a node's outputs in."""
        to = next((a.i for a in node.attribute if node.op_type == "Cast" and a.name == "to"), 0)
        for name in node.output:
            self._types[name] = to or self._types.get(node.input[0] if node.input else "", 0)

    def type_of(self, name: str) -> int:
        """Look a value's element type up."""
        return self._types[name]

    def constant(self, name: str) -> Any:
        """Look a constant up as an array; None if the value is none."""
        found = (tensor for tensor in self._graph.initializer if tensor.name == name)
        return next(map(numpy_helper.to_array, found), None)

    def scalar(self, value: float) -> str:
        """Name a float32 constant without dimensions, adding it once."""
        name = f"sam_export.gelu.{value:.6g}"  # no name that torch makes
        if self.constant(name) is None:
            self._graph.initializer.append(
                numpy_helper.from_array(np.array(value, np.float32), name)
            )
        return name

    def length(self, name: str, axis: int) -> int:
        """Look the length of an axis up."""
        return int(self._shapes[name].dim[axis].dim_value)

    @functools.cached_property
    def _shapes(self) -> dict[str, Any]:
        # Types may be float16 by now where the exporter's own value_info was float32.
        graph = onnx.shape_inference.infer_shapes(self._model).graph
        return {v.name: v.type.tensor_type.shape for v in (*graph.input, *graph.value_info)}


def _rewrite(node: Any, version: int, values: _Values) -> list[Any]:
    rewrite = _REWRITES.get(node.op_type)
    nodes = rewrite(node, values) if rewrite else None
    if nodes is None or not all(_has(each, version) for each in nodes):
        newer = ", ".join(str(v) for v in OPSETS if v > version and _has(node, v))
        raise RequestError(
            f"ONNX opset {version} has no {node.op_type} as {node.name!r} needs it; choose from "
            f"--opset {newer}"
        )
    return nodes


def _gelu(node: Any, values: _Values) -> list[Any]:
    """Gelu(x)    becomes    its definition, in float32.

        none: x * (1 + Erf(x / sqrt(2))) * 0.5
        tanh: (x * 0.5) * (1 + Tanh((x + x^3 * 0.044715) * sqrt(2 / pi)))

    ONNX Runtime makes one operation of either again: in this order, with constants of no dimension,
    and in float32 only. In float16 some of its releases make one that they cannot run on ARM
    (github.com/microsoft/onnxruntime/issues/32386), and the roots lose half their digits.
    """
    (x,), (y,) = node.input, node.output
    half = values.type_of(x) == TensorProto.FLOAT16
    inside, outside = (f"{y}_single", f"{y}_whole") if half else (x, y)
    chain = _TANH if any(a.s == b"tanh" for a in node.attribute) else _ERF
    names: dict[str | float, str] = {"x": inside, "y": outside}
    nodes = []
    for kind, given, made in chain:
        names.setdefault(made, f"{y}_{made}")
        inputs = [names.get(i) or values.scalar(float(i)) for i in given]
        nodes.append(helper.make_node(kind, inputs, [names[made]], name=f"{names[made]}_gelu"))
    if not half:
        return nodes
    return [_cast(x, inside, TensorProto.FLOAT), *nodes, _cast(outside, y, TensorProto.FLOAT16)]


_ERF: tuple[tuple[str, tuple[str | float, ...], str], ...] = (
    ("Div", ("x", math.sqrt(2)), "scaled"),
    ("Erf", ("scaled",), "erf"),
    ("Add", ("erf", 1.0), "share"),
    ("Mul", ("x", "share"), "double"),
    ("Mul", ("double", 0.5), "y"),
)
"""Operation, inputs, output; a number is a constant."""
_TANH: tuple[tuple[str, tuple[str | float, ...], str], ...] = (
    ("Pow", ("x", 3.0), "cube"),
    ("Mul", ("cube", 0.044715), "small"),
    ("Add", ("x", "small"), "sum"),
    ("Mul", ("sum", math.sqrt(2 / math.pi)), "scaled"),
    ("Tanh", ("scaled",), "tanh"),
    ("Add", ("tanh", 1.0), "share"),
    ("Mul", ("x", 0.5), "half"),
    ("Mul", ("half", "share"), "y"),
)


def _cast(value: str, name: str, to: int) -> Any:
    return helper.make_node("Cast", [value], [name], name=f"cast_{name}", to=to)


def _reduce(node: Any, values: _Values) -> list[Any] | None:
    """Reduce(x, axes)    becomes    Reduce(x) with an attribute `axes`, as before opset 18."""
    axes = values.constant(node.input[1]) if len(node.input) == 2 else None
    if axes is None:
        return None
    older = onnx.NodeProto()
    older.CopyFrom(node)
    del older.input[1:]
    older.attribute.append(helper.make_attribute("axes", axes.tolist()))
    return [older]


def _split(node: Any, values: _Values) -> list[Any] | None:
    """Split(x) with `num_outputs`    becomes    Split(x), equal parts before opset 18 too."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    if len(node.input) != 1 or values.length(node.input[0], axis) % len(node.output):
        return None
    older = onnx.NodeProto()
    older.CopyFrom(node)
    del older.attribute[:]
    older.attribute.append(helper.make_attribute("axis", axis))
    return [older]


_REWRITES: dict[str, Callable[[Any, _Values], list[Any] | None]] = {
    "Gelu": _gelu,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "Split": _split,
}
"""Operation -> what writes a node of it for an older opset; None if it cannot."""
_FREE = frozenset(_REWRITES) - {"Gelu"}
"""Operations that are one operation in an older opset too."""
