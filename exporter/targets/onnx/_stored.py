"""Weights stored small in an ONNX file and widened when a session loads it.

    w (f32) -> [Conv]   becomes   w (i8) -> Cast -> Mul (scale) -> [Conv]

All inputs of the new nodes are constants, so ONNX Runtime folds them once, before the first call:
the arithmetic stays float32 and no call gets slower. A DequantizeLinear would run at every call,
because ONNX Runtime keeps it for its integer kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.precision import BLOCK

Floats = npt.NDArray[np.float32]
Form = Callable[[str, Floats], Iterator[Any]]
"""A constant's name and values -> initializers, then the nodes that widen it."""

LEAST_BYTES = 1024
"""A smaller constant stays float32: the nodes that widen it take about what it would save."""
LARGEST = float(np.finfo(np.float16).max)


@dataclass
class Weights:
    """A model's float32 constants, to be stored in other forms."""

    model: Any

    def __post_init__(self) -> None:
        from onnx import TensorProto

        graph = self.model.graph
        self._stored = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
        self._nodes: list[Any] = []

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def names(self) -> tuple[str, ...]:
        """Names of those that are still float32."""
        return tuple(self._stored)

    def values(self, name: str) -> Floats:
        """The constant's values."""
        from onnx import numpy_helper

        values: Floats = numpy_helper.to_array(self._stored[name])
        return values

    def replace(self, name: str, form: Form) -> None:
        """Store a constant as `form` yields it: initializers, then nodes; the last gives `name`."""
        from onnx import TensorProto

        for made in form(name, self.values(name)):
            if isinstance(made, TensorProto):
                self.model.graph.initializer.append(made)
            else:
                self._nodes.append(made)
        self.model.graph.initializer.remove(self._stored.pop(name))

    def finish(self) -> None:
        """Put the nodes that widen in front of the others."""
        nodes = [*self._nodes, *self.model.graph.node]
        del self.model.graph.node[:]
        self.model.graph.node.extend(nodes)


def halved(name: str, values: Floats) -> Iterator[Any]:
    """Store in float16."""
    from onnx import TensorProto, numpy_helper

    yield numpy_helper.from_array(values.astype(np.float16), f"{name}_half")
    yield widening_node("Cast", [f"{name}_half"], name, to=TensorProto.FLOAT)


def fits_half(values: Floats) -> bool:
    """Whether float16 saves something, and holds every value."""
    return values.nbytes >= LEAST_BYTES and bool(np.abs(values).max() <= LARGEST)


def in_8_bits(axis: int) -> Form:
    """Store in 8 bits, with a scale for each slice along `axis`, the output channels."""

    def form(name: str, values: Floats) -> Iterator[Any]:
        from onnx import TensorProto, numpy_helper

        scales = scales_of(values, axis, 127)
        steps = np.clip(np.rint(values / scales), -127, 127).astype(np.int8)
        yield numpy_helper.from_array(steps, f"{name}_steps")
        yield numpy_helper.from_array(scales, f"{name}_scales")
        yield widening_node("Cast", [f"{name}_steps"], f"{name}_whole", to=TensorProto.FLOAT)
        yield widening_node("Mul", [f"{name}_whole", f"{name}_scales"], name)

    return form


def in_4_bits(name: str, values: Floats) -> Iterator[Any]:
    """Store a (rows, columns) matrix in 4 bits, with a scale for each BLOCK of a column.

    Two steps share a byte: the first half of the rows in the upper four bits, the second in the
    lower. The file needs no type newer than uint8 for them.
    """
    from onnx import TensorProto, numpy_helper

    rows, columns = values.shape
    blocks = values.reshape(rows // BLOCK, BLOCK, columns)
    scales = scales_of(blocks, (0, 2), 7)
    steps = np.clip(np.rint(blocks / scales), -8, 7).reshape(rows, columns) + 8
    packed = (steps[: rows // 2] * 16 + steps[rows // 2 :]).astype(np.uint8)
    of = name + "_{}"
    yield numpy_helper.from_array(packed, of.format("pairs"))
    yield numpy_helper.from_array(scales, of.format("scales"))
    yield numpy_helper.from_array(np.array(16, np.float32), of.format("sixteen"))
    yield numpy_helper.from_array(np.array(8, np.float32), of.format("eight"))
    yield numpy_helper.from_array(np.array(blocks.shape), of.format("blocks"))
    yield numpy_helper.from_array(np.array(values.shape), of.format("shape"))
    yield widening_node("Cast", [of.format("pairs")], of.format("bytes"), to=TensorProto.FLOAT)
    yield widening_node("Div", [of.format("bytes"), of.format("sixteen")], of.format("sixteenths"))
    yield widening_node("Floor", [of.format("sixteenths")], of.format("upper"))
    yield widening_node("Mul", [of.format("upper"), of.format("sixteen")], of.format("upper_bits"))
    yield widening_node("Sub", [of.format("bytes"), of.format("upper_bits")], of.format("lower"))
    yield widening_node(
        "Concat", [of.format("upper"), of.format("lower")], of.format("steps"), axis=0
    )
    yield widening_node("Sub", [of.format("steps"), of.format("eight")], of.format("signed"))
    yield widening_node(
        "Reshape", [of.format("signed"), of.format("blocks")], of.format("in_blocks")
    )
    yield widening_node("Mul", [of.format("in_blocks"), of.format("scales")], of.format("scaled"))
    yield widening_node("Reshape", [of.format("scaled"), of.format("shape")], name)


def fits_blocks(values: Floats) -> bool:
    """Whether 4 bits in blocks can hold it: a matrix whose rows make whole blocks."""
    return values.ndim == 2 and values.shape[0] % BLOCK == 0


def scales_of(values: Floats, kept: int | tuple[int, ...], most: int) -> Floats:
    """Symmetric scales, one for each index of the kept axes, that broadcast against `values`.

    Args:
        values: of any shape.
        kept: the axes that keep their sides.
        most: the step that the largest value gets.
    """
    kept = (kept,) if isinstance(kept, int) else kept
    others = tuple(axis for axis in range(values.ndim) if axis not in kept)
    largest = np.abs(values).max(axis=others, keepdims=True)
    # A channel of zeros has no scale; any will do.
    return np.where(largest > 0, largest / most, 1).astype(np.float32)


def widening_node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, inputs, [output], name=f"widen_{output}", **attributes)
