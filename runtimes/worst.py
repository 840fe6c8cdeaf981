"""The worst of many values, and what a figure makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from exporter.bundle.agreement import END_TO_END
from exporter.bundle.end_to_end import Array
from exporter.bundle.manifest import Figure
from runtimes.measures import CAP, WORST, Floors, Measure, worst_error


@dataclass
class Worst:
    """The worst value of each output, in the order they were first met."""

    values: dict[tuple[str, Measure], list[float]] = field(default_factory=dict)

    def add(self, output: str, measure: Measure, value: float) -> None:
        """Take the value of one case."""
        self.values.setdefault((output, measure), []).append(value)

    def compare(self, output: str, expected: Array, actual: Array, scale: float = 0.0) -> None:
        """Take the worst error of numbers that should be the same; `scale` as of `worst_error`."""
        same = expected.shape == actual.shape
        finite = same and bool(np.isfinite(expected).all() and np.isfinite(actual).all())
        value = worst_error(expected, actual, scale=scale) if finite and expected.size else 0.0
        self.add(output, WORST, value if same and finite else CAP)

    def figures(self, floors: Floors) -> Iterator[Figure]:
        """Make the worst figure of each, with its floor."""
        for (output, measure), values in self.values.items():
            floor = floors(END_TO_END, output, measure.name)
            worst = measure.worst(values)
            yield Figure(
                END_TO_END, output, measure.name, worst, measure.unit, measure.better, floor
            )
