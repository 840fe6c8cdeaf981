"""float16 in Core ML: coremltools casts while it converts, all but islands and what ranks masks.

A half score has steps of 0.0005 below 1, so two masks often have the same one and the first is
chosen: another mask than in float32 in 2.17 % of the demo's cases, and in 0.07 % with the IoU head
in float32 (60 scenes; `python -m profiles.lab.precision --target coreml --precision fp16`). It is a
few thousand products at the very end, and nothing waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.islands import IOU_HEAD, WEIGHTED_SUMS, Island, Step, leads_to
from exporter.products import names_module
from exporter.targets import Lowering
from exporter.targets.coreml.fp32 import convert

PATTERNS = (*WEIGHTED_SUMS.patterns, *IOU_HEAD.patterns)


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.mlpackage` in float16; inputs, outputs, islands and `PATTERNS` stay float32."""
    import coremltools as ct

    rounded = outside(work.precision.keeps_float)

    def selector(op: Any) -> bool:
        return rounded(op) and not names_module(_module_of(op), PATTERNS)

    return convert(work, ct.transform.FP16ComputePrecision(op_selector=selector))


def _module_of(op: Any) -> str:
    """Name the module that an operation came from, and its value: `network.neck.0.input`."""
    from coremltools.converters.mil.mil.scope import ScopeSource

    return ".".join(op.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME, ()))


def outside(islands: Iterable[Island]) -> Callable[[Any], bool]:
    """Tells whether an operation of a MIL program is to be cast.

    The islands are those of the program as it is when it is asked for the first time: the pass that
    asks inserts casts while it goes on.
    """
    islands = tuple(islands)
    kept: dict[int, set[str]] = {}

    def cast(op: Any) -> bool:
        block = op.enclosing_block
        if id(block) not in kept:
            kept[id(block)] = _names(list(block.operations), islands)
        return op.name not in kept[id(block)]

    return cast


def _names(operations: list[Any], islands: tuple[Island, ...]) -> set[str]:
    """Names of the islands' operations; a constant is cast by who reads it."""
    steps = [
        Step(
            op.op_type,
            tuple(value.name for value in _flat(op.inputs.values())),
            tuple(value.name for value in op.outputs),
        )
        for op in operations
    ]
    inside = (operations[place] for place in leads_to(steps, islands))
    return {op.name for op in inside if op.op_type != "const"}


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        yield from value if isinstance(value, list | tuple) else (value,)
