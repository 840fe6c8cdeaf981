"""Tables that repeat their entries, stored once and spread out when a session loads.

    t (f32)   becomes   entries (f32), positions (u8) -> Cast -> Gather -> t

Attention's biases have one entry for each distance of two positions, spread over all pairs: of
TinyViT's 5 MB, 32 KB are different. All inputs of the new nodes are constants, so ONNX Runtime
folds them once, before the first call. Same bits, same speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.targets.onnx._stored import Floats, Form, Weights, widening_node

LEAST_BYTES = 8192
"""A smaller table stays as it is."""
LEAST_GAIN = 2
"""Times that the entries and their positions must be smaller than the table."""
LEAST_RANK = 3
"""Axes of a table. A matrix is a linear layer's weight, which repeats nothing."""
PROBE = 16384
"""Slices that are looked at before a long table is read whole: one that repeats does so early."""


@dataclass(frozen=True)
class Table:
    """A constant whose slices along one axis repeat.

    Attributes:
        axis: of the constant; an entry is a slice along it.
        entries: (different slices, length of the axis), in the order they first appear.
        positions: which entry stands where, of the shape of the other axes.
    """

    axis: int
    entries: Floats
    positions: npt.NDArray[np.unsignedinteger[Any]]

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.entries.nbytes + self.positions.nbytes


def find_table(values: Floats) -> Table | None:
    """Find the axis along which slices repeat the most; None if storing them once saves little."""
    if values.ndim < LEAST_RANK or values.nbytes < LEAST_BYTES:
        return None
    found = [table for axis in range(values.ndim) if (table := _along(values, axis)) is not None]
    best = min(found, key=lambda table: table.nbytes, default=None)
    return best if best is not None and best.nbytes * LEAST_GAIN <= values.nbytes else None


def _along(values: Floats, axis: int) -> Table | None:
    """The table of an axis; None if it has more entries than a position can say."""
    moved = np.moveaxis(values, axis, -1)
    slices = np.ascontiguousarray(moved).reshape(-1, moved.shape[-1])
    words = _words(slices)
    if len(np.unique(words[:PROBE])) * LEAST_GAIN > min(len(words), PROBE):
        return None
    _, first, places = np.unique(words, return_index=True, return_inverse=True)
    # By first appearance, not by value: tables of equal structure then share their positions.
    order = np.argsort(first)
    rank = np.argsort(order)
    largest = len(first) - 1
    if largest > np.iinfo(np.uint16).max:
        return None
    kind = np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16
    positions: npt.NDArray[Any] = rank[places].astype(kind).reshape(moved.shape[:-1])
    return Table(axis, slices[first[order]], positions)


def _words(slices: Floats) -> npt.NDArray[Any]:
    """Each slice as one value: equal bits are the same entry, so -0.0 and 0.0 are two."""
    if slices.shape[1] == 1:  # the same, and sorted sooner
        return slices.view(np.uint32).ravel()
    return slices.view(np.dtype((np.void, slices.shape[1] * slices.itemsize))).ravel()


@dataclass
class _Positions:
    """Positions by their content: tables of blocks of equal shape share them."""

    _names: dict[tuple[bytes, tuple[int, ...]], str] = field(default_factory=dict)

    def form(self, table: Table) -> Form:
        """Store a constant as its table."""

        def form(name: str, values: Floats) -> Iterator[Any]:
            from onnx import numpy_helper

            del values
            positions = self._names.get(self._key(table))
            if positions is None:
                positions = f"positions_{len(self._names)}"
                self._names[self._key(table)] = positions
                yield from _stored_positions(positions, table)
            yield numpy_helper.from_array(table.entries, f"{name}_entries")
            # A row at a time: an order of magnitude sooner than a value at a time.
            inputs, last = [f"{name}_entries", positions], table.positions.ndim
            if table.axis == last:
                yield widening_node("Gather", inputs, name)
            else:
                order = [*range(table.axis), last, *range(table.axis, last)]
                yield widening_node("Gather", inputs, f"{name}_spread")
                yield widening_node("Transpose", [f"{name}_spread"], name, perm=order)

        return form

    @staticmethod
    def _key(table: Table) -> tuple[bytes, tuple[int, ...]]:
        return table.positions.tobytes(), table.positions.shape


def _stored_positions(name: str, table: Table) -> Iterator[Any]:
    from onnx import TensorProto, numpy_helper

    yield numpy_helper.from_array(table.positions, f"{name}_small")
    yield widening_node("Cast", [f"{name}_small"], name, to=TensorProto.INT32)


def store_tables(model: Any) -> Any:
    """Rewrite every such table of an onnx.ModelProto in place and return the model."""
    weights, positions = Weights(model), _Positions()
    kernels = {node.input[1] for node in model.graph.node if node.op_type.startswith("Conv")}
    for name in weights.names():
        table = None if name in kernels else find_table(weights.values(name))
        if table is not None:
            weights.replace(name, positions.form(table))
    weights.finish()
    return model
