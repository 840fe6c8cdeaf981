"""Constants with few distinct values as a look-up table: the same values, in less of the file.

An attention bias has one number for each distance of two tokens, and the graph adds one for each
pair of tokens: 196 numbers a head become 38,416. The file keeps the 196 and a byte for each pair,
and Core ML widens them when it loads the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.frontend._utils import _construct_constexpr_lut_op
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

NAMESPACE = "sam_export"
READERS = frozenset({"add", "sub", "mul", "matmul", "scaled_dot_product_attention"})
"""They read a table as one more tensor. Weights of layers are left to who compresses them."""
LEAST_VALUES = 2048
MOST_PARTS = 12
"""Of a table that is put together from parts, before iOS 18."""
BITS = (1, 2, 4, 6, 8)
"""Of an index, before iOS 18 too."""
IOS_18 = 9
"""The version of a package, as coremltools counts."""

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LookUp:
    """`values[:, g] == lut[g][indices]` along `axis`, bit for bit.

    Attributes:
        axis: of the groups; with one group, its side may be any.
        indices: of the shape of the values, with side 1 along `axis` if there are groups.
        lut: (groups, 2**bits), filled up with zeros.
    """

    axis: int
    indices: npt.NDArray[np.uint8]
    lut: Floats


def look_up(values: Floats) -> LookUp | None:
    """Find a table of at most 256 values for all of them, or one for each slice along an axis."""
    if one := _grouped(values.reshape(1, -1)):
        return LookUp(0, one[0].reshape(values.shape), one[1])
    for axis, groups in enumerate(values.shape):
        if groups == 1 or groups == values.size:
            continue
        slices = np.moveaxis(values, axis, 0)
        if found := _grouped(slices.reshape(groups, -1)):
            indices = np.expand_dims(found[0].reshape(slices.shape[1:]), axis)
            return LookUp(axis, indices, found[1])
    return None


def _grouped(slices: Floats) -> tuple[npt.NDArray[np.uint8], Floats] | None:
    """(groups, n) -> indices (n,) and tables (groups, 2**bits); None if that saves nothing.

    Values are numbered as they appear, so that tables of the same pattern have the same indices.
    """
    bits = np.ascontiguousarray(slices).view(f"u{slices.itemsize}")
    if len(np.unique(bits[0])) > 1 << BITS[-1]:
        return None
    _, first, inverse = np.unique(bits, axis=1, return_index=True, return_inverse=True)
    distinct = len(first)
    if distinct > 1 << BITS[-1]:
        return None
    order = np.argsort(first)
    number = np.empty(distinct, np.uint8)
    number[order] = np.arange(distinct)
    width = next(width for width in BITS if distinct <= 1 << width)
    if len(slices) << width > slices.size // 4:
        return None
    lut = np.zeros((len(slices), 1 << width), slices.dtype)
    lut[:, :distinct] = slices[:, first[order]]
    return number[inverse.reshape(-1)], lut


@register_pass(namespace=NAMESPACE)
class compact_tables(AbstractGraphPass):  # type: ignore[misc]
    """Store tables of few distinct values as such; `look_up` says which.

        const (1, heads, n, n)    becomes    constexpr_lut_to_dense, a table for each head

    Before iOS 18 a look-up has one table, so each head has its own look-up, and `concat` joins
    them. What the look-ups share, coremltools' `const_deduplication` stores once.
    """

    def apply(self, prog: Any) -> None:
        """Rewrite every such constant; our programs have no inner blocks."""
        for function in prog.functions.values():
            grouped = function.opset_version.value >= IOS_18
            for op in list(function.operations):
                if op.op_type == "const" and _is_table(op.outputs[0]):
                    _store(function, op, grouped=grouped)


def _is_table(constant: Any) -> bool:
    values = constant.val
    floats = isinstance(values, np.ndarray) and values.dtype in (np.float16, np.float32)
    return (
        floats
        and values.size >= LEAST_VALUES
        and all(reader.op_type in READERS for reader in constant.child_ops)
    )


def _store(block: Any, op: Any, *, grouped: bool) -> None:
    """Put look-ups in the place of a constant, if its values allow."""
    old = op.outputs[0]
    found = look_up(old.val)
    if found is None or (len(found.lut) > MOST_PARTS and not grouped):
        return
    with block:
        new = _as_one(found, old, op) if grouped else _in_parts(found, old, op)
    block.replace_uses_of_var_after_op(anchor_op=op, old_var=old, new_var=new)
    block.remove_ops([op])


def _as_one(found: LookUp, old: Any, op: Any) -> Any:
    groups = [1] * old.rank
    groups[found.axis] = len(found.lut)
    return _construct_constexpr_lut_op(
        np.broadcast_to(found.indices, old.shape),
        found.lut.reshape(*groups, -1, 1),
        name=old.name,
        before_op=op,
    )


def _in_parts(found: LookUp, old: Any, op: Any) -> Any:
    ranks = [1] * old.rank
    named = (
        [old.name] if len(found.lut) == 1 else [f"{old.name}_{n}" for n in range(len(found.lut))]
    )
    parts = [
        _construct_constexpr_lut_op(
            found.indices, lut.reshape(*ranks, -1, 1), name=name, before_op=op
        )
        for name, lut in zip(named, found.lut, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    return mb.concat(values=parts, axis=found.axis, name=old.name, before_op=op)
