"""Ranges of a lowered graph's values on sample pictures, found in a process of its own.

    parent  find_ranges(MODULE, Task(...))         what each tensor's values lie between
    child   sys.exit(child.serve(answer(watch)))   in MODULE, a file of the target

One process a graph: its memory is given back, and a toolkit that dies takes nothing with it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter import child
from exporter.bundle.goldens import Goldens
from exporter.bundle.layouts import Array, to_layout
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


Watch = Callable[["Task"], Iterator[Mapping[str, tuple[float, float]]]]
"""Runs samples; yields the least and the largest value of each tensor, once or more."""


@dataclass(frozen=True)
class Task:
    """What to watch.

    Attributes:
        file: the graph in float32.
        spec: its inputs, in the layouts of that file.
        tensors: names in that file.
        pictures: files of goldens (`exporter.bundle.goldens`), one for each picture.
    """

    file: Path
    spec: GraphSpec
    tensors: tuple[str, ...]
    pictures: tuple[Path, ...]

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
        }

    @classmethod
    def from_data(cls, data: Any) -> Task:
        """From `to_data`."""
        return cls(
            Path(data["file"]),
            parse(GraphSpec, data["spec"], "spec"),
            tuple(data["tensors"]),
            tuple(map(Path, data["pictures"])),
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
    return {name: ranges[name] for name in task.tensors}


def answer(watch: Watch) -> Callable[[Any], dict[str, tuple[float, float]]]:
    """Make the child's work, for `exporter.child.serve`."""

    def work(data: Any) -> dict[str, tuple[float, float]]:
        ranges: dict[str, Range] = {}
        for one in watch(Task.from_data(data)):
            for name, sides in one.items():
                seen = Range(*sides)
                ranges[name] = ranges[name].joined(seen) if name in ranges else seen
        return {name: (each.low, each.high) for name, each in ranges.items()}

    return work
