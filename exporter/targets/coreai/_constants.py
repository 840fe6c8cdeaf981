"""Constants of a Core AI program: their values, and new ones.

Values of fewer than 8 bits lie one after another, the first in the lowest bits of a byte.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

CONSTANT = "coreai.constant"

Array = npt.NDArray[Any]


def is_stored(constant: Any) -> bool:
    """Whether a constant's values lie in a part of the file of their own, which has a name."""
    return "dense_resource" in str(constant.attributes["value"])


def bytes_of(constant: Any) -> npt.NDArray[np.uint8]:
    """Copy a stored constant's bytes."""
    from coreai._compiler._mlir_libs._coreaiIR import _bindings

    kind = constant.results[0].type
    values = np.zeros(math.ceil(math.prod(kind.shape) * kind.element_type.width / 8), np.uint8)
    bindings: Any = _bindings
    bindings.compiler.copy_constant_value_to_array(constant_op=constant.opview, destination=values)
    return values


def stored_as(values: npt.NDArray[np.uint8], name: str, kind: Any) -> Any:
    """Make the value of a stored constant.

    Args:
        values: its bytes.
        name: of its part of the file.
        kind: its type.
    """
    from coreai._compiler.ir import DenseResourceElementsAttr

    # Not wider than a value: a reader refuses the file if its buffer lies less well.
    width = max(1, kind.element_type.width // 8)
    return DenseResourceElementsAttr.get_from_buffer(values, name, kind, alignment=width)


def floats_of(constant: Any) -> Array:
    """Read a stored constant of float32 or float16."""
    kind = constant.results[0].type
    dtype = {32: np.float32, 16: np.float16}[kind.element_type.width]
    return bytes_of(constant).view(dtype).reshape(kind.shape)


def constant(values: Array, element: Any) -> Any:
    """Add a constant at the insertion point, and return its one result.

    Args:
        values: in whole bytes; of an element of fewer bits, the upper ones are left out.
        element: the type of a value.
    """
    from coreai._compiler import ir

    kind = ir.RankedTensorType.get(values.shape, element)
    packed = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    if element.width < 8:
        bits = np.unpackbits(packed[:, None], axis=1, bitorder="little")[:, : element.width]
        packed = np.packbits(bits.reshape(-1), bitorder="little")
    value = stored_as(packed, "new", kind)
    return ir.Operation.create(CONSTANT, results=[kind], attributes={"value": value}).results[0]


def scalar(value: float, element: Any) -> Any:
    """Add a constant of no axes, and return its one result."""
    return _splat((), value, element)


def zeros(shape: tuple[int, ...], element: Any) -> Any:
    """Add a constant of zeros, which takes next to no place, and return its one result."""
    return _splat(shape, 0, element)


def _splat(shape: tuple[int, ...], value: float, element: Any) -> Any:
    from coreai._compiler import ir

    kind = ir.RankedTensorType.get(shape, element)
    whole = isinstance(element, ir.IntegerType)
    one = ir.IntegerAttr.get(element, int(value)) if whole else ir.FloatAttr.get(element, value)
    value = ir.DenseElementsAttr.get_splat(kind, one)
    return ir.Operation.create(CONSTANT, results=[kind], attributes={"value": value}).results[0]
