"""Ranges of a lowered graph's values on sample pictures, found in a process of its own.

    parent  find_ranges(MODULE, Task(...))         what each tensor's values lie between
    child   `exporter.watching`                    in MODULE, a file of the target

One process a graph: its memory is given back, and a toolkit that dies takes nothing with it. The
ranges are `min-max`, the least and the largest value, or `mse`, the range that rounds to 8 bits
with the least mean squared error.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from exporter import child
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
    return require_ranges(task, given)


def require_ranges(task: Task, given: Mapping[str, tuple[float, float]]) -> dict[str, Range]:
    """Make ranges of what was seen, each a little wider; raises as `find_ranges` does."""
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
