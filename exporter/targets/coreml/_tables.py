"""Constants with few distinct values as a look-up table: the same values, in less of the file.

An attention bias has one number for each distance of two tokens, and the graph adds one for each
pair of tokens: 196 numbers a head become 38,416. The file keeps the 196 and a byte for each pair,
and Core ML widens them when it loads the package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.frontend._utils import _construct_constexpr_lut_op
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from exporter.targets._look_up import LEAST_VALUES, LookUp, look_up

NAMESPACE = "sam_export"
READERS = frozenset({"add", "sub", "mul", "matmul", "scaled_dot_product_attention"})
"""They read a table as one more tensor. Weights of layers are left to who compresses them."""
MOST_PARTS = 12
"""Of a table that is put together from parts, before iOS 18."""
IOS_18 = 9
"""The version of a package, as coremltools counts."""


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
