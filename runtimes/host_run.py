"""One measured process on this machine.

    python -m runtimes.host_run < JOB.json

loads one graph (or, for a session, every graph) of a bundle, calls it, and prints its times and
memory as one line of JSON: the fields of a `GraphRun` or a `SessionRun`. The inputs are the first
golden case of each graph. Only they are read: other goldens would count as memory of the bundle.
"""

from __future__ import annotations

import gc
import importlib
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import process_time_ns
from typing import Any

from exporter import child
from exporter.bundle.flow import feeds, of_masks, repeated_graphs
from exporter.bundle.folder import Bundle, read_manifest
from exporter.bundle.layouts import Array, from_layout, to_layout
from exporter.bundle.manifest import GraphFile
from exporter.bundle.reading import parse
from exporter.bundle.tensors import TensorSpec
from runtimes.device import RESIDENT, GraphRun, Method, SessionRun
from runtimes.engines import EngineKind, LoadedGraph, choose_engine
from runtimes.process import clock_ns, hold_to, peak_bytes

NANO = 10**9


@dataclass(frozen=True)
class HostJob:
    """The job of one process.

    Attributes:
        folder: the bundle; the parent has checked its hashes.
        graph: its name, or empty for a session.
        method: how it is timed; the parent has resolved its cores.
        cores: numbers to hold the process to; empty for all.
    """

    folder: str
    graph: str
    method: Method
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Samples:
    """Nanoseconds of warm-up calls and of counted calls, and the CPU time of the counted ones."""

    warmup: tuple[int, ...]
    counted: tuple[int, ...]
    cpu_ns: int
    stable: bool

    def run(self, graph: str, runtime: str, load_ns: int, method: Method, before: int) -> GraphRun:
        """Sum up a process that is about to end.

        Args:
            graph: name of what was called.
            runtime: its name and version.
            load_ns: what loading took.
            method: the calls were timed by.
            before: bytes that were resident before anything was loaded.
        """
        return GraphRun(
            graph=graph,
            runtime=runtime,
            load_ns=load_ns,
            first_ns=self.warmup[0],
            warmup_ns=self.warmup,
            samples_ns=self.counted,
            cpu_ns=self.cpu_ns,
            peak_bytes=peak_bytes() or None,
            threads=method.threads,
            notes=(resident(before), *(() if self.stable else (unstable(method),))),
        )


def golden_inputs(bundle: Bundle, graph: GraphFile) -> dict[str, Array]:
    """Read the inputs of the graph's first golden case, in the graph's own layout.

    Raises:
        BundleError: an array is missing, or the goldens cannot be read.
    """
    goldens, spec = bundle.goldens(), graph.spec
    inputs = goldens.inputs(spec, goldens.cases(spec.name)[0])
    return {tensor.name: to_layout(inputs[tensor.name], tensor) for tensor in spec.inputs}


def run_graph(job: HostJob) -> GraphRun:
    """Load one graph and time its calls."""
    affinity = hold_to(job.cores)
    bundle, kind, runtime = open_here(job.folder)
    graph = bundle.manifest.graph(job.graph)
    inputs = golden_inputs(bundle, graph)
    before = peak_bytes()
    start = clock_ns()
    loaded = kind.open(bundle.file(job.graph), graph, job.method.threads)
    load_ns = clock_ns() - start
    samples = time_calls(lambda: loaded.run(inputs), job.method)
    run = samples.run(job.graph, runtime, load_ns, job.method, before)
    return replace(run, affinity=affinity)


def run_session(job: HostJob) -> SessionRun:
    """Load every graph of a mask, run each once in order, then again those that answer prompts.

    A bundle of one graph has no click of its own: every answer takes the whole graph.
    """
    hold_to(job.cores)
    bundle, kind, runtime = open_here(job.folder)
    graphs = of_masks(bundle.manifest.graphs)
    inputs = {graph.spec.name: golden_inputs(bundle, graph) for graph in graphs}
    before = peak_bytes()
    start = clock_ns()
    loaded = [kind.open(bundle.file(g.spec.name), g, job.method.threads) for g in graphs]
    load_ns = clock_ns() - start
    _chain(graphs, loaded, inputs)
    first_mask_ns = clock_ns() - start
    clicks: tuple[int, ...] = ()
    again = repeated_graphs(graphs)
    if again:
        answering = [loaded[graphs.index(graph)] for graph in again]
        clicks = time_calls(lambda: _chain(again, answering, inputs), job.method).counted
    return SessionRun(
        runtime, load_ns, first_mask_ns, clicks, peak_bytes() or None, notes=(resident(before),)
    )


def open_here(folder: str) -> tuple[Bundle, EngineKind, str]:
    """Open the bundle; returns it, the engine that runs it here, the runtime's name and version."""
    bundle = Bundle(Path(folder), read_manifest(Path(folder)))
    kind = choose_engine(bundle.manifest.target)
    version = ""
    with suppress(ImportError):  # a toolkit under another name: its import is part of the load
        if kind.module:
            importlib.import_module(kind.module)
            top = importlib.import_module(kind.module.split(".")[0])
            version = str(getattr(top, "__version__", ""))
    return bundle, kind, f"{kind.name} {version}".strip()


def _chain(
    graphs: Sequence[GraphFile],
    loaded: Sequence[LoadedGraph],
    inputs: dict[str, dict[str, Array]],
) -> None:
    """Run the graphs in order; each output feeds later inputs of the same name."""
    outputs: dict[str, dict[str, Array]] = {}
    for at, (graph, each) in enumerate(zip(graphs, loaded, strict=True)):
        spec, taken = graph.spec, inputs[graph.spec.name]
        tensors = {tensor.name: tensor for tensor in spec.inputs}
        for name, feed in feeds(graph, graphs[:at]).items():
            taken[name] = _convert(outputs[feed.graph][name], feed.output, tensors[name])
        outputs[spec.name] = each.run(taken)


def _convert(array: Array, given: TensorSpec, taken: TensorSpec) -> Array:
    same = (given.shape, given.dtype, given.layout) == (taken.shape, taken.dtype, taken.layout)
    return array if same else to_layout(from_layout(array, given), taken)


def time_calls(
    call: Callable[[], object], method: Method, clock: Callable[[], int] = clock_ns
) -> Samples:
    """Warm up until times are stable, then call as often and as long as the method says."""
    gc.collect()
    gc.disable()
    warmup = [_time_call(call, clock)]
    began = clock() - warmup[0]
    while _still_warming(warmup, clock() - began, method):
        warmup.append(_time_call(call, clock))
    counted: list[int] = []
    cpu, began = process_time_ns(), clock()
    while len(counted) < method.runs or clock() - began < method.seconds * NANO:
        counted.append(_time_call(call, clock))
    cpu = process_time_ns() - cpu
    gc.enable()
    return Samples(tuple(warmup), tuple(counted), cpu, stable(warmup, method))


def _still_warming(times: Sequence[int], spent: int, method: Method) -> bool:
    if spent >= method.warmup_seconds * NANO:
        return False
    return spent < method.warmup_least_seconds * NANO or not stable(times, method)


def stable(times: Sequence[int], method: Method) -> bool:
    """Tell whether the last calls took as long as those before them."""
    window = method.stable_calls
    if len(times) < 2 * window:
        return False
    before, last = times[-2 * window : -window], times[-window:]
    then, now = statistics.median(before), statistics.median(last)
    return abs(now - then) <= method.stable_within * then


def _time_call(call: Callable[[], object], clock: Callable[[], int]) -> int:
    start = clock()
    call()
    return clock() - start


def resident(before: int) -> str:
    """Note how much of the peak was there before a graph was loaded."""
    return f"{RESIDENT}, {before / 2**20:.0f} MB were Python, the toolkit and the inputs"


def unstable(method: Method) -> str:
    """Note that the warm-up ended before times were stable."""
    return f"times were not stable after {method.warmup_seconds:g} s of warm-up"


def work(data: Any) -> dict[str, Any]:
    """Do a `HostJob` (JSON); returns a `GraphRun`, or for a session a `SessionRun`, as JSON."""
    job = parse(HostJob, data, "job")
    return asdict(run_graph(job) if job.graph else run_session(job))


if __name__ == "__main__":
    sys.exit(child.serve(work))
