"""Find the ranges of values in a package: a process of its own, see `exporter.child`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from exporter import child
from exporter.calibration import Task, answer
from runtimes.engines.mil import load_package
from runtimes.engines.mil.tensors import Array


def watch(task: Task) -> Iterator[dict[str, tuple[float, float]]]:
    """Run every sample; yield the least and the largest value of each tensor."""
    program = load_package(task.file)
    wanted = frozenset(task.tensors)
    for inputs in task.samples():
        seen: dict[str, tuple[float, float]] = {}

        def look(name: str, values: Array, seen: dict[str, tuple[float, float]] = seen) -> None:
            if name in wanted:
                seen[name] = (float(values.min()), float(values.max()))

        program.run({name: array.astype(np.float32) for name, array in inputs.items()}, watch=look)
        yield seen


if __name__ == "__main__":
    sys.exit(child.serve(answer(watch)))
