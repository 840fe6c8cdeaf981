"""Find the ranges of values in a package: a process of its own, see `exporter.child`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from exporter import child
from exporter.calibration import Task
from exporter.watching import Seen, answer, samples
from runtimes.engines.mil import load_package
from runtimes.engines.mil.tensors import Array


def watch(task: Task) -> Iterator[dict[str, Seen]]:
    """Run every sample; yield what was seen of each tensor."""
    program = load_package(task.file)
    wanted = frozenset(task.tensors)
    for inputs in samples(task):
        seen: dict[str, Seen] = {}

        def look(name: str, values: Array, seen: dict[str, Seen] = seen) -> None:
            if name in wanted:
                seen[name] = Seen.of(values, task)

        program.run({name: array.astype(np.float32) for name, array in inputs.items()}, watch=look)
        yield seen


if __name__ == "__main__":
    sys.exit(child.serve(answer(watch)))
