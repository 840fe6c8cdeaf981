"""The passes of coremltools that a program goes through, and one of ours."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from exporter.targets.coreml._tables import NAMESPACE, compact_tables


def passes() -> Any:
    """List coremltools' own without one that is not exact; ours keeps that one from acting later.

        x -> mul -> add -> y    becomes    x -> batch_norm (variance 1, epsilon 1e-5) -> y

    The epsilon scales everything by 1 - 5e-6; in the image's normalisation that costs 25 dB of the
    embedding. A tool that reads the package (coremltools' compression) runs the pass again, and on
    float16 it stops there: "the named input `mean` must have the same data type". It looks for
    `add`, so our program has `sub`.
    """
    pipeline = ct.PassPipeline()
    pipeline.remove_passes({"common::fuse_elementwise_to_batchnorm"})
    pipeline.append_pass(f"{NAMESPACE}::{subtract_after_product.__name__}")
    pipeline.append_pass(f"{NAMESPACE}::{compact_tables.__name__}")
    pipeline.append_pass("common::const_deduplication")
    return pipeline


@register_pass(namespace=NAMESPACE)
class subtract_after_product(AbstractGraphPass):  # type: ignore[misc]
    """Write `x * a + b` as `x * a - (-b)`, the same number bit for bit; a, b constants a channel.

    x -> mul(a) -> add(b) -> y    becomes    x -> mul(a) -> sub(-b) -> y
    """

    def apply(self, prog: Any) -> None:
        """Rewrite every such pair; our programs have no inner blocks."""
        for function in prog.functions.values():
            for op in list(function.operations):
                if op.op_type == "mul" and _constant(op) is not None:
                    _rewrite_sums(function, op.outputs[0])


def _rewrite_sums(block: Any, product: Any) -> None:
    """Rewrite the sums of `product` and a constant."""
    for total in list(product.child_ops):
        added = _constant(total) if total.op_type == "add" else None
        if added is None:
            continue
        old = total.outputs[0]
        with block:
            new = mb.sub(x=product, y=-added.val, name=old.name, before_op=total)
        block.replace_uses_of_var_after_op(anchor_op=total, old_var=old, new_var=new)
        block.remove_ops([total])


def _constant(op: Any) -> Any:
    """Find the operand of `mul` or `add` that is a constant (C, 1, 1) or (1, C, 1, 1), or None."""
    for operand in (op.x, op.y):
        shape = np.shape(operand.val) if operand.val is not None else ()
        if len(shape) in (3, 4) and shape[-2:] == (1, 1):
            return operand
    return None
