"""An operation's view of its run: arguments, declared results, buffers it may reuse."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.graph import Instruction
from runtimes.engines.mil.memory import buffer_of
from runtimes.engines.mil.tensors import Array


class Call:
    """One operation and its arguments. Floats are float32; a method's default is for absence."""

    def __init__(
        self,
        step: Instruction,
        arguments: Mapping[str, Sequence[Array]],
        spare: Collection[int],
        empty: Callable[[tuple[int, ...]], Array],
    ) -> None:
        self.step = step
        self._arguments = arguments
        self._spare = spare
        self._empty = empty

    def __getitem__(self, name: str) -> Array:
        """Return a required argument."""
        array = self.get(name)
        if array is None:
            raise MilError(f"{self.step.label} is missing its argument '{name}'")
        return array

    def __contains__(self, name: str) -> bool:
        return name in self._arguments

    def get(self, name: str) -> Array | None:
        """Return an optional argument."""
        group = self._arguments.get(name)
        return group[0] if group else None

    def many(self, name: str) -> Sequence[Array]:
        """Return an argument that is a list of tensors."""
        if name not in self._arguments:
            raise MilError(f"{self.step.label} is missing its argument '{name}'")
        return self._arguments[name]

    def number(self, name: str, default: float) -> np.float32:
        """Return a scalar, as a float32, so that it does not widen the other operand."""
        array = self.get(name)
        return np.float32(default if array is None else array.item())

    def integer(self, name: str, default: int) -> int:
        """Return a scalar that counts."""
        array = self.get(name)
        return default if array is None else int(array.item())

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """Return a vector of whole numbers; required unless there is a default."""
        if default is not None and name not in self:
            return list(default)
        return [int(item) for item in self[name].reshape(-1)]

    def flag(self, name: str) -> bool:
        """Return a boolean that is false unless given."""
        array = self.get(name)
        return False if array is None else bool(array.item())

    def text(self, name: str, default: str = "") -> str:
        """Return a string."""
        array = self.get(name)
        return default if array is None else str(array.item())

    def fresh(self, shape: tuple[int, ...], *names: str) -> Array:
        """Memory for a float32 result: an operand of that shape that is not read again, or new."""
        for name in names:
            array = self.get(name)
            if array is not None and array.shape == shape and self._may_overwrite(array):
                return array
        return self._empty(shape)

    def _may_overwrite(self, array: Array) -> bool:
        flags = array.flags
        return (
            array.dtype == np.float32
            and flags.writeable
            and flags.c_contiguous
            and id(buffer_of(array)) in self._spare
        )


def rows_per_block(width: int, budget: int = 1 << 17) -> int:
    """Count the rows of `width` elements that fit the cache, to work on at a time."""
    return max(1, budget // max(1, width))


def flat_rows(array: Array) -> Array:
    """View a contiguous array as (rows, last axis)."""
    width = array.shape[-1] if array.ndim else 1
    return array.reshape(math.prod(array.shape[:-1]), width)
