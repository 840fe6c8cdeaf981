"""Time, size and error of each static form of RWKV's averages, in one run.

    python -m profiles.lab.recurrence --write

One layer of RWKV-SAM small: 4096 tokens, 384 channels, decays from -5 to 3. Processor time of calls
in turns, one thread, as a ratio to the form that is exported; errors against the recurrence in
double precision, as shares of its largest value. `--write` writes profiles/results/recurrence.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from exporter.bundle.layouts import to_layout
from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.calibration import Pictures
from exporter.graphs import graph_of
from exporter.models.wkv import ROW, WeightedAverages
from exporter.precision import load_precision
from exporter.targets import Options, load_target
from profiles.lab.bench.machine import circumstances
from profiles.lab.bench.operations import count
from profiles.lab.recurrence.forms import (
    TOKENS,
    CumulativeSums,
    SharedTriangles,
    ShiftedSums,
    recurrence,
)
from runtimes.engines import LoadedGraph, choose_engine

COMMAND = "python -m profiles.lab.recurrence"
PAGE = Path(__file__).parents[2] / "results" / "recurrence.md"
WIDTH = 384
TIMED = ("onnx", "tflite")
"""Core ML runs here in an interpreter, whose time says nothing."""
TARGETS = (*TIMED, "coreml")
EXPORTED = f"products with a table a channel, rows of {ROW} (exported)"

Call = Callable[[], Any]


@dataclass(frozen=True)
class Lowered:
    """A form in a target's format, on one thread."""

    session: LoadedGraph
    file: GraphFile
    path: Path

    def call(self, given: Mapping[str, Tensor]) -> Call:
        """Make a call on these inputs, laid out beforehand."""
        arrays = {t.name: to_layout(given[t.name].numpy(), t) for t in self.file.spec.inputs}
        return lambda: self.session.run(arrays)["averages"]


def forms(decay: Tensor, first: Tensor) -> dict[str, nn.Module]:
    """Make every form with these weights (C,)."""
    made: dict[str, nn.Module] = {}
    for name, row in ((EXPORTED, ROW), ("the same, rows of 64", 64)):
        averages = WeightedAverages(WIDTH, TOKENS, row)
        averages.set_weights(decay, first)
        made[name] = averages
    return made | {
        "products with triangles that all channels share": SharedTriangles(decay, first),
        "cumulative sums": CumulativeSums(decay, first),
        "shifted sums, twelve steps": ShiftedSums(decay, first),
    }


def lowered(form: nn.Module, target: str, folder: Path) -> Lowered:
    """Lower a form in float32, and load it."""
    folder.mkdir(parents=True)
    shape = (1, TOKENS, WIDTH)
    inputs = tuple(TensorSpec(name, shape, "float32", "BNC") for name in ("keys", "values"))
    outputs = (TensorSpec("averages", shape, "float32", "BNC"),)
    graph = graph_of(GraphSpec("recurrence", inputs, outputs, "image"), form)
    work = (graph, load_precision("fp32"), folder, Options(), Pictures(), frozenset[str]())
    file = load_target(target).lower(*work)
    path = folder / file.file
    return Lowered(choose_engine(target).open(path, file, 1), file, path)


def spent(calls: Mapping[str, Call], rounds: int) -> dict[str, float]:
    """Median processor time of a call in seconds, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def measure(rounds: int) -> list[list[str]]:
    """Measure every form; returns the table's rows."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decay, first = torch.linspace(-5, 3, WIDTH), torch.linspace(-1.5, 0.5, WIDTH)
    given = {name: torch.randn(1, TOKENS, WIDTH) for name in ("keys", "values")}
    given["keys"] *= 2
    expected = recurrence(given["keys"], given["values"], decay, first).numpy()

    def error(found: Any) -> float:
        return float(np.abs(found - expected).max() / np.abs(expected).max())

    cells: dict[str, dict[str, Any]] = {}
    calls: dict[str, dict[str, Call]] = {target: {} for target in TIMED}
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        for at, (name, form) in enumerate(forms(decay, first).items()):
            cell = cells[name] = {}
            for target in TARGETS:
                made = lowered(form, target, Path(place) / str(at) / target)
                call = made.call(given)
                cell[target] = error(call())
                if target in calls:
                    calls[target][name] = call
                    cell[f"{target} kB"] = made.path.stat().st_size / 1e3
                if target == "tflite":
                    cell["partitions"] = count(made.path).partitions
            half = form.half()(*(x.half() for x in given.values()))
            cell["half"] = error(half.float().numpy())
        times = {target: spent(each, rounds) for target, each in calls.items()}
    return [_row(name, cell, times) for name, cell in cells.items()]


def _row(name: str, cell: Mapping[str, Any], times: Mapping[str, Mapping[str, float]]) -> list[str]:
    ratios = (f"{each[name] / each[EXPORTED]:.2f}" for each in times.values())
    sizes = f"{cell['onnx kB']:.0f}, {cell['tflite kB']:.0f}"
    errors = ", ".join(f"{cell[target]:.0e}" for target in TARGETS)
    return [name, *ratios, str(cell["partitions"]), sizes, errors, f"{cell['half']:.0e}"]


def page(rows: list[list[str]], about: Mapping[str, Any], rounds: int) -> str:
    """Write the table down."""
    head = (
        "| form | ONNX Runtime | LiteRT | XNNPACK partitions | kB: onnx, tflite "
        "| error: onnx, tflite, coreml | all in float16 |"
    )
    machine, versions = about["machine"], about["versions"]
    lines = [
        "# RWKV's averages over all tokens without a loop",
        "",
        f"`{COMMAND} --write`: one layer of RWKV-SAM small, 4096 tokens, 384 channels, decays from "
        f"-5 to 3. Times are processor time, median of {rounds} calls in turns, one thread, over "
        "the exported form's. Errors are the largest, as shares of the largest average.",
        "",
        head,
        "|" + " --- |" * head.count(" |"),
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"{about['date']}, {machine['cpu']}, load average {machine['load_average'][0]} "
        f"(processor time, so that other work moves the ratios little), "
        f"onnxruntime {versions['onnxruntime']}, ai-edge-litert {versions['ai-edge-litert']}.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    about = circumstances(COMMAND)
    text = page(measure(arguments.rounds), about, arguments.rounds)
    print(text)
    if arguments.write:
        PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
