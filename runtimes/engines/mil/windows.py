"""Sliding windows over spatial axes: the geometry that convolution and pooling share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtimes.engines.mil.call import Call
from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.tensors import Array


@dataclass(frozen=True)
class Window:
    """Kernel, strides and dilations for each spatial axis, and (before, after) padding."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def is_pointwise(self) -> bool:
        """Whether every output reads only the input at its own place."""
        plain = all(v == 1 for v in (*self.kernel, *self.strides))
        return plain and not any(sum(pair) for pair in self.pads)

    def reach(self, axis: int) -> int:
        """Number of inputs from a window's first to its last."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def out_sizes(self, sizes: Sequence[int], ceil: bool = False) -> tuple[int, ...]:  # noqa: FBT001
        """Output sizes for the unpadded input's; `ceil` as in torch's pooling."""
        found = []
        for axis, size in enumerate(sizes):
            before, after = self.pads[axis]
            room = size + before + after - self.reach(axis)
            stride = self.strides[axis]
            count = (-(-room // stride) if ceil else room // stride) + 1
            if ceil and before + after > 0 and (count - 1) * stride >= size + before:
                count -= 1  # a window that would start in the padding after the input
            found.append(count)
        return tuple(found)

    def taps(self, padded: Array, counts: Sequence[int]) -> Iterator[tuple[tuple[int, ...], Array]]:
        """Pair each kernel position with its part of the padded input, `counts` in size."""
        for tap in np.ndindex(*self.kernel):
            yield tap, padded[self.places(tap, counts)]

    def places(self, tap: Sequence[int], counts: Sequence[int]) -> tuple[Any, ...]:
        """Index the padded input: one kernel position's place for each output."""
        slices: list[Any] = [...]
        for axis, (position, count) in enumerate(zip(tap, counts, strict=True)):
            start = position * self.dilations[axis]
            stride = self.strides[axis]
            slices.append(slice(start, start + (count - 1) * stride + 1, stride))
        return tuple(slices)


def read_window(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> Window:
    """Read the window of a conv's or a pool's arguments for an input of these sizes."""
    ones = [1] * len(kernel)
    strides = call.integers("strides", ones)
    dilations = call.integers("dilations", ones)
    bare = Window(tuple(kernel), tuple(strides), tuple(dilations), ((0, 0),) * len(kernel))
    return Window(bare.kernel, bare.strides, bare.dilations, _pads(call, sizes, bare))


def _pads(call: Call, sizes: Sequence[int], window: Window) -> tuple[tuple[int, int], ...]:
    """`same`: ceil(size / stride) outputs, an odd row of padding after; `same_lower`: before."""
    mode = call.text("pad_type", "valid")
    if mode == "valid":
        return window.pads
    if mode == "custom":
        flat = call.integers("pad", [0] * (2 * len(sizes)))
        return tuple(zip(flat[::2], flat[1::2], strict=True))
    if mode not in ("same", "same_lower"):
        raise MilError(f"{call.step.label}: pad_type '{mode}' is not known")
    pads = []
    for axis, size in enumerate(sizes):
        stride = window.strides[axis]
        total = max(0, (-(-size // stride) - 1) * stride + window.reach(axis) - size)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if mode == "same" else (more, less))
    return tuple(pads)


def pad_spatial(x: Array, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
    """Pad the axes after batch and channel; return the same array if there is nothing to add."""
    if not any(before or after for before, after in pads):
        return x
    sizes = [n + before + after for n, (before, after) in zip(x.shape[2:], pads, strict=True)]
    out = np.full((*x.shape[:2], *sizes), value, x.dtype)
    inner: list[Any] = [slice(b, b + n) for n, (b, _) in zip(x.shape[2:], pads, strict=True)]
    out[(..., *inner)] = x
    return out
