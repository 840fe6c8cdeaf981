"""A program of half arithmetic -> the same operations in float32, on the weights it stores.

    w (f16) -> [linear, f16] -> y (f16)     becomes     w (f16) -> cast -> [linear, f32] -> y (f32)

The reference runtime computes half arithmetic one value after another, a hundred times as slowly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

CONSTANT, CAST, GRAPH = "coreai.constant", "coreai.cast", "coreai.graph"


def widen(module: Any) -> bool:
    """Rewrite an MLIR module in place; False if it has no half arithmetic.

    Inner functions (norms, attention) take and give float32 too.
    """
    from coreai._compiler import ir

    operations: list[Any] = []

    def note(operation: Any) -> Any:
        operations.append(operation)
        return ir.WalkResult.ADVANCE

    with module.context, ir.Location.unknown():
        module.operation.walk(note)
        constants = [each for each in operations if each.name == CONSTANT]
        others = [each for each in operations if each.name != CONSTANT]
        halves = [v for each in others for v in _values(each) if _wide(v.type) != v.type]
        for value in halves:
            value.set_type(_wide(value.type))
        for each in others:
            if each.name == GRAPH:
                kind = each.attributes["function_type"].value
                sides = ([*map(_wide, side)] for side in (kind.inputs, kind.results))
                each.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(*sides))
        for each in constants:
            _widen_constant(each)
    return bool(halves)


def _values(operation: Any) -> Iterator[Any]:
    """List an operation's results, and what its inner functions take."""
    yield from operation.results
    for region in operation.regions:
        for block in region.blocks:
            yield from block.arguments


def _wide(kind: Any) -> Any:
    """Make a type of float32 of one of half; any other is given back."""
    from coreai._compiler import ir

    if isinstance(kind, ir.RankedTensorType) and isinstance(kind.element_type, ir.F16Type):
        return ir.RankedTensorType.get(kind.shape, ir.F32Type.get())
    return kind


def _widen_constant(constant: Any) -> None:
    """Put a cast between a constant of half and all that reads it."""
    from coreai._compiler import ir

    stored = constant.results[0]
    kind = _wide(stored.type)
    if kind == stored.type:
        return
    with ir.InsertionPoint(constant):
        copy = constant.clone()
        cast = ir.Operation.create(CAST, results=[kind], operands=[copy.results[0]])
    stored.replace_all_uses_with(cast.results[0])
    constant.erase()
