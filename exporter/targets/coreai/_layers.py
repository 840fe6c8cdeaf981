"""The convolutions and linear layers of a Core AI program, and their weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from exporter.targets.coreai._constants import CONSTANT, is_stored

CONV, TRANSPOSED = "coreai.conv2d", "coreai.conv_transpose2d"
PRODUCTS = frozenset({"coreai.decomposable.broadcasting_batch_matmul", "coreai.batch_matmul"})
TURN = "coreai.transpose"


@dataclass(frozen=True)
class Layer:
    """One operation with a weight of the file.

    Attributes:
        operation: takes the input first and the weight, maybe turned, second.
        constant: the weight.
        shape: of the weight.
        output: its axis of output channels.
        input: its axis of input channels.
        positions: of the layer's input: pixels of a map, or tokens.
    """

    operation: Any
    constant: Any
    shape: tuple[int, ...]
    output: int
    input: int
    positions: int

    @property
    def is_linear(self) -> bool:
        """Whether it is no convolution."""
        return self.operation.name in PRODUCTS


def layers(program: Any) -> Iterator[Layer]:
    """Find them, in execution order. A product of two activations has no weight."""
    from coreai._compiler.ir import WalkResult

    found: list[Any] = []

    def look(operation: Any) -> Any:
        if operation.name in {CONV, TRANSPOSED, *PRODUCTS}:
            found.append(operation)
        return WalkResult.ADVANCE

    program._module._mlir_module.operation.walk(look)
    for operation in found:
        constant, turned = _weight(operation.operands[1])
        if constant is not None:
            yield _layer(operation, constant, turned=turned)


def _weight(value: Any) -> tuple[Any, bool]:
    """Find the stored constant of floats that a value is, and whether its last axes are swapped."""
    from coreai._compiler.ir import F16Type, F32Type

    turned, owner = False, value.owner
    while getattr(owner, "name", "") == TURN and _swaps_last(owner):
        turned, owner = not turned, owner.operands[0].owner
    if getattr(owner, "name", "") != CONSTANT or not is_stored(owner):
        return None, turned
    element = owner.results[0].type.element_type
    return (owner if isinstance(element, F16Type | F32Type) else None), turned


def _swaps_last(turn: Any) -> bool:
    order = [int(each) for each in turn.operands[1].owner.attributes["value"]]
    return order == [*range(len(order) - 2), len(order) - 1, len(order) - 2]


def _layer(operation: Any, constant: Any, *, turned: bool) -> Layer:
    shape = tuple(constant.results[0].type.shape)
    sides = list(operation.operands[0].type.shape)
    if operation.name in PRODUCTS:
        last = len(shape) - 1
        axes = (last - 1, last) if turned else (last, last - 1)
        return Layer(operation, constant, shape, *axes, math.prod(sides[:-1]))
    axes = (1, 0) if operation.name == TRANSPOSED else (0, 1)
    return Layer(operation, constant, shape, *axes, math.prod(sides[2:]))
