"""How much memory loading and running a lowered graph adds to a process that has its runtime."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from exporter.bundle.manifest import GraphFile
from exporter.bundle.reading import parse
from profiles.lab.bench.rows import BenchRow
from profiles.lab.bench.speed import THREADS
from runtimes.engines import choose_engine

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
"""Linux: 5 written here makes the highest resident memory the present one."""


def measure_peak(
    row: BenchRow, folder: Path, lowered: Mapping[str, Any], target: str
) -> dict[str, Any]:
    """Load one of a row's graphs and run it once, on zeros; call it in a process of its own."""
    entry = parse(GraphFile, lowered[target]["file"], target)
    engine = choose_engine(target)
    _import_runtime(target)
    RESET.write_text("5", encoding="ascii")
    before = read_kilobytes("VmRSS")
    session = engine.open(folder / target / entry.file, entry, THREADS)
    session.run({t.name: np.zeros(t.shape, t.dtype) for t in entry.spec.inputs})
    added = read_kilobytes("VmHWM") - before
    peak_mb = round(added * 2**10 / 1e6, 1)
    return {"row": row.name, "contender": target, "peak_mb": peak_mb, "goals": row.peak_mb}


def read_kilobytes(field: str) -> int:
    """Read a field of this process's status: `VmRSS` is resident now, `VmHWM` at most so far."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise RuntimeError(f"{STATUS} has no {field}")


def _import_runtime(target: str) -> None:
    """Load the runtime's own code, which is not the graph's."""
    importlib.import_module({"onnx": "onnxruntime", "tflite": "ai_edge_litert.interpreter"}[target])
