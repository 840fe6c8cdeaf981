"""The child of `exporter.calibration`: it runs samples and tells what their values lie between.

    sys.exit(child.serve(answer(watch)))   in a file of the target

`mse` needs some of the values themselves, `min-max` only their sides.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter.bundle.goldens import Goldens
from exporter.bundle.layouts import Array, to_layout
from exporter.calibration import Range, Task

VALUES = 2**17
"""Of a tensor that are kept for `mse`, from all samples together."""
BINS = 2048
LEVELS = 255
"""Steps of an 8-bit range."""
SHARES = 40
"""Of a side that are tried, evenly spaced down to none."""


@dataclass(frozen=True)
class Seen:
    """A tensor's values in one sample.

    Attributes:
        range: exact.
        some: evenly spaced ones of the values, if `mse` asks for them.
    """

    range: Range
    some: Array | None = None

    @classmethod
    def of(cls, values: Array, task: Task) -> Seen:
        """Look at a whole tensor, whose values may be NaN."""
        sides = Range(float(values.min()), float(values.max()))
        return cls(sides, thin(values, kept(task)) if task.ranges == "mse" else None)


Watch = Callable[[Task], Iterator[Mapping[str, Seen]]]
"""Runs samples; yields what was seen of each tensor, once or more."""


@functools.cache
def kept(task: Task) -> int:
    """Values to keep of a tensor from one case, VALUES from all."""
    cases = sum(len(read_sample(path).cases(task.spec.name)) for path in task.pictures[:1])
    return max(1, VALUES // max(1, cases * len(task.pictures)))


def samples(task: Task) -> Iterator[dict[str, Array]]:
    """Read the graph's inputs, case by case, in its own layouts."""
    for picture in task.pictures:
        goldens = read_sample(picture)
        for case in goldens.cases(task.spec.name):
            inputs = goldens.inputs(task.spec, case)
            yield {t.name: to_layout(inputs[t.name], t) for t in task.spec.inputs}


def read_sample(path: Path) -> Goldens:
    """Read a picture's file of goldens. It is our own, so its size needs no limit."""
    with np.load(path, allow_pickle=False) as arrays:
        return Goldens.of(dict(arrays))


def answer(watch: Watch) -> Callable[[Any], dict[str, tuple[float, float]]]:
    """Make the child's work, for `exporter.child.serve`."""

    def work(data: Any) -> dict[str, tuple[float, float]]:
        task = Task.from_data(data)
        ranges: dict[str, Range] = {}
        values: dict[str, list[Array]] = {}
        for one in watch(task):
            for name, seen in one.items():
                known = ranges.get(name)
                ranges[name] = known.joined(seen.range) if known else seen.range
                if seen.some is not None:
                    values.setdefault(name, []).append(seen.some)
        for name, some in values.items():
            ranges[name] = least_error(ranges[name], np.concatenate(some))
        return {name: (each.low, each.high) for name, each in ranges.items()}

    return work


def thin(values: Array, most: int) -> Array:
    """Take evenly spaced values, `most` at most and always the same ones."""
    return np.ascontiguousarray(values.reshape(-1)[:: stride(values.size, most)], np.float32)


def stride(size: int, most: int) -> int:
    """Choose a step that leaves `most` of `size` values at most.

    It has no factor in common with the sides of usual tensors, so that all channels and rows take
    part.
    """
    step = -(-size // most)
    while step > 1 and any(step % factor == 0 for factor in (2, 3, 5, 7)):
        step += 1
    return step


def least_error(whole: Range, values: Array) -> Range:
    """Choose the range in which 8-bit values have the least mean squared error.

    Args:
        whole: of all values.
        values: some of them.

    Returns:
        A part of `whole`, with zero in it; `whole` itself if it is not finite.
    """
    low, high = min(whole.low, 0.0), max(whole.high, 0.0)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return whole
    counts, edges = np.histogram(values, BINS, (low, high))
    centres = (edges[:-1] + edges[1:]) / 2

    def error(one: Range) -> float:
        step = (one.high - one.low) / LEVELS
        rounded = np.clip(np.rint((centres - one.low) / step), 0, LEVELS) * step + one.low
        return float((counts * np.square(centres - rounded)).sum())

    shares = 1 - np.arange(SHARES) / SHARES
    best = Range(low, high)
    for _ in range(2):  # the sides one after the other, and once more beside the other's choice
        highs = [Range(best.low, high * float(share)) for share in shares]
        best = min((each for each in highs if each.low < each.high), key=error)
        lows = [Range(low * float(share), best.high) for share in shares]
        best = min((each for each in lows if each.low < each.high), key=error)
    return best
