"""Ranges of a lowered graph's values on sample pictures, found in a process of its own.

    parent  find_ranges(MODULE, Task(...))         what each tensor's values lie between
    child   sys.exit(child.serve(answer(watch)))   in MODULE, a file of the target

One process a graph: its memory is given back, and a toolkit that dies takes nothing with it. The
ranges are `min-max`, the least and the largest value, or `mse`, the range that rounds to 8 bits
with the least mean squared error; the second needs some of the values themselves.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from exporter import child
from exporter.bundle.goldens import Goldens
from exporter.bundle.layouts import Array, to_layout
from exporter.bundle.manifest import RangeKind
from exporter.bundle.reading import parse
from exporter.bundle.tensors import GraphSpec
from exporter.errors import LoweringError, RequestError


@dataclass(frozen=True)
class Range:
    """The least and the largest value of a tensor over all samples."""

    low: float
    high: float

    def joined(self, other: Range) -> Range:
        """The range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    def widened(self) -> Range:
        """A range of some width: of one value it reaches to zero, of zero alone to one.

        Quantisers divide by the width; the value itself stays exact.
        """
        if self.low < self.high:
            return self
        wide = self.joined(Range(0.0, 0.0))
        return wide if wide.low < wide.high else Range(0.0, 1.0)


RANGE_KINDS: tuple[RangeKind, ...] = get_args(RangeKind)
VALUES = 2**17
"""Of a tensor that are kept for `mse`, from all samples together."""
BINS = 2048
LEVELS = 255
"""Steps of an 8-bit range."""
SHARES = 40
"""Of a side that are tried, evenly spaced down to none."""


@dataclass(frozen=True)
class Pictures:
    """What ranges are found on, and how.

    Attributes:
        files: files of goldens, one for each picture; empty if the precision needs no ranges.
        ranges: see `exporter.bundle.manifest.Calibration`.
    """

    files: tuple[Path, ...] = ()
    ranges: RangeKind = "min-max"


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
        return cls(sides, thin(values, task.kept) if task.ranges == "mse" else None)


Watch = Callable[["Task"], Iterator[Mapping[str, Seen]]]
"""Runs samples; yields what was seen of each tensor, once or more."""


@dataclass(frozen=True)
class Task:
    """What to watch.

    Attributes:
        file: the graph in float32.
        spec: its inputs, in the layouts of that file.
        tensors: names in that file.
        pictures: files of goldens (`exporter.bundle.goldens`), one for each picture.
        ranges: how a range is chosen.
    """

    file: Path
    spec: GraphSpec
    tensors: tuple[str, ...]
    pictures: tuple[Path, ...]
    ranges: RangeKind = "min-max"

    @cached_property
    def kept(self) -> int:
        """Values to keep of a tensor from one case, VALUES from all."""
        cases = sum(len(read_sample(path).cases(self.spec.name)) for path in self.pictures[:1])
        return max(1, VALUES // max(1, cases * len(self.pictures)))

    def samples(self) -> Iterator[dict[str, Array]]:
        """Read the graph's inputs, case by case, in its own layouts."""
        for picture in self.pictures:
            goldens = read_sample(picture)
            for case in goldens.cases(self.spec.name):
                inputs = goldens.inputs(self.spec, case)
                yield {t.name: to_layout(inputs[t.name], t) for t in self.spec.inputs}

    def to_data(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "file": str(self.file),
            "spec": dataclasses.asdict(self.spec),
            "tensors": self.tensors,
            "pictures": [str(path) for path in self.pictures],
            "ranges": self.ranges,
        }

    @classmethod
    def from_data(cls, data: Any) -> Task:
        """From `to_data`."""
        return cls(
            Path(data["file"]),
            parse(GraphSpec, data["spec"], "spec"),
            tuple(data["tensors"]),
            tuple(map(Path, data["pictures"])),
            data["ranges"],
        )


def read_sample(path: Path) -> Goldens:
    """Read a picture's file of goldens. It is our own, so its size needs no limit."""
    with np.load(path, allow_pickle=False) as arrays:
        return Goldens.of(dict(arrays))


def find_ranges(module: str, task: Task) -> dict[str, Range]:
    """Find the range of every tensor of a task.

    Args:
        module: of the target, run by name.
        task: what to watch.

    Raises:
        RequestError: no value changes, as on pictures of one colour: such ranges would cut
            everything off.
        LoweringError: a range is missing or not finite.
    """
    given = child.call([module], task.to_data(), what="calibration", failure=LoweringError)
    ranges = {name: Range(*sides) for name, sides in given.items()}
    if ranges and all(each.low == each.high for each in ranges.values()):
        raise RequestError(
            f"calibration of {task.spec.name}: no value ever changes, so no range can be found: "
            "give pictures like those that the app will see"
        )
    for name in task.tensors:
        if name not in ranges:
            raise LoweringError(f"calibration of {task.spec.name}: no range of {name!r} was found")
        if not (math.isfinite(ranges[name].low) and math.isfinite(ranges[name].high)):
            raise LoweringError(
                f"calibration of {task.spec.name}: {name!r} has values that are not finite; see "
                "whether --precision fp32 is finite"
            )
    return {name: ranges[name].widened() for name in task.tensors}


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
