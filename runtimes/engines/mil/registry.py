"""Every operation this interpreter knows, by MIL's name."""

from __future__ import annotations

from runtimes.engines.mil import (
    ops_activation,
    ops_constexpr,
    ops_conv,
    ops_elementwise,
    ops_image,
    ops_index,
    ops_linear,
    ops_norm,
    ops_pool,
    ops_reduce,
    ops_shape,
)
from runtimes.engines.mil.ops_elementwise import Operation

_FILES = (
    ops_activation,
    ops_constexpr,
    ops_conv,
    ops_elementwise,
    ops_image,
    ops_index,
    ops_linear,
    ops_norm,
    ops_pool,
    ops_reduce,
    ops_shape,
)

OPERATIONS: dict[str, Operation] = {
    name: function for file in _FILES for name, function in file.OPERATIONS.items()
}
# Results of these are values of their operands: nothing is left to round.
EXACT: frozenset[str] = frozenset[str]().union(*(file.EXACT for file in _FILES))
