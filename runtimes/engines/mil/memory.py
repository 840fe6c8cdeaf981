"""The tensors alive during a run: which share memory, and how it is reused after them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from runtimes.engines.mil.tensors import Array

# Smaller arrays come out of the allocator's own reserves.
_WORTH_KEEPING = 1 << 20


def buffer_of(array: Array) -> Array:
    """Find the array that owns a view's memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class Memory:
    """Tensors by name. Large buffers of dead ones are kept for later results.

    The system has to clear a new large array page by page: for the 800 MB of logits of one of
    ViT-B's global blocks that took 2 s of CPU on a virtual machine, computing them 0.3 s. With idle
    buffers the total stays within 9/8 of the run's peak need.
    """

    def __init__(self) -> None:
        self._alive: dict[str, Array] = {}
        self._sharing: Counter[int] = Counter()
        self._idle: list[Array] = []
        self._used = 0
        self._peak = 0

    def get(self, name: str) -> Array | None:
        """Look up a tensor that is alive."""
        return self._alive.get(name)

    def keep(self, name: str, array: Array) -> None:
        """Add a tensor."""
        buffer = buffer_of(array)
        if not self._sharing[id(buffer)]:
            self._used += buffer.nbytes
            self._peak = max(self._peak, self._used)
        self._sharing[id(buffer)] += 1
        self._alive[name] = array

    def is_shared(self, array: Array) -> bool:
        """Tell whether a tensor that is alive shares this array's memory."""
        return id(buffer_of(array)) in self._sharing and self._sharing[id(buffer_of(array))] > 0

    def release(self, names: Iterable[str]) -> dict[int, Array]:
        """Forget tensors; returns the buffers, by id, that no other tensor shares."""
        spare = {}
        for name in names:
            array = self._alive.pop(name, None)
            if array is None:
                continue
            buffer = buffer_of(array)
            self._sharing[id(buffer)] -= 1
            if not self._sharing[id(buffer)]:
                del self._sharing[id(buffer)]
                self._used -= buffer.nbytes
                spare[id(buffer)] = buffer
        return spare

    def recycle(self, spare: Iterable[Array]) -> None:
        """Keep the released buffers that no result reuses."""
        for buffer in spare:
            flags = buffer.flags
            fits = buffer.dtype == np.float32 and flags.owndata and flags.writeable
            if fits and buffer.nbytes >= _WORTH_KEEPING and not self.is_shared(buffer):
                self._idle.append(buffer)
        self._make_room(0)

    def empty(self, shape: tuple[int, ...]) -> Array:
        """Make an uninitialised float32 array: a kept buffer of about that size, or new."""
        count = math.prod(shape)
        fitting = [b for b in self._idle if count <= b.size <= count + count // 2]
        if not fitting:
            self._make_room(4 * count)
            return np.empty(shape, np.float32)
        best = min(fitting, key=lambda b: b.size)
        self._idle = [b for b in self._idle if b is not best]
        return best.reshape(-1)[:count].reshape(shape)

    def _make_room(self, size: int) -> None:
        """Free idle buffers, cheapest first, while the total exceeds the limit."""
        peak = max(self._peak, self._used + size)
        limit = peak + peak // 8
        self._idle.sort(key=lambda b: b.nbytes, reverse=True)
        while self._idle and self._used + size + sum(b.nbytes for b in self._idle) > limit:
            self._idle.pop()
