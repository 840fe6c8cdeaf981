"""One measured process on this machine.

    python -m runtimes.host_run < JOB.json

loads one graph (or, for a session, every graph) of a bundle, calls it, and prints what it took as
one line of JSON: the fields of a `GraphRun` or a `SessionRun`. The inputs are the first golden case
of each graph. Only they are read: the other goldens would count as memory of the bundle.
"""

from __future__ import annotations

import gc
import importlib
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time_ns
from typing import Any

from exporter.bundle.flow import feeds, in_order, repeated
from exporter.bundle.folder import Bundle, read_manifest
from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import TensorSpec
from exporter.errors import SamExportError
from runtimes.device import RESIDENT, GraphRun, SessionRun
from runtimes.engines import Array, EngineKind, Session, choose_engine, from_layout, to_layout
from runtimes.process import clock_ns, hold_to, peak_bytes

WINDOW = 5
"""Calls whose median is compared with that of the calls before them."""
STABLE = 0.03
"""How far the two medians may be apart."""
NANO = 10**9
ERROR = "host_run: error: "


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        folder: the bundle; its hashes were checked by who started us.
        graph: its name, or empty for a session.
        cores: to be held to; empty for all.
    """

    folder: str
    graph: str
    runs: int
    seconds: float
    warmup_seconds: float
    threads: int
    cores: tuple[int, ...]


@dataclass(frozen=True)
class Samples:
    """Nanoseconds of calls: those that warmed up, those that count, and the CPU time of these."""

    warmup: tuple[int, ...]
    counted: tuple[int, ...]
    cpu_ns: int
    stable: bool


def golden_inputs(bundle: Bundle, graph: GraphFile) -> dict[str, Array]:
    """Inputs of the graph's first golden case, laid out as the graph takes them.

    Raises:
        BundleError: an array is missing, or the goldens cannot be read.
    """
    goldens, spec = bundle.goldens(), graph.spec
    inputs = goldens.inputs(spec, goldens.cases(spec.name)[0])
    return {tensor.name: to_layout(inputs[tensor.name], tensor) for tensor in spec.inputs}


def run_graph(job: Job) -> GraphRun:
    """Load one graph and time its calls."""
    affinity = hold_to(job.cores)
    bundle, kind, runtime = _open(job)
    graph = bundle.manifest.graph(job.graph)
    inputs = golden_inputs(bundle, graph)
    before = peak_bytes()
    start = clock_ns()
    session = kind.open(bundle.file(job.graph), graph, job.threads)
    load_ns = clock_ns() - start
    samples = time_calls(lambda: session.run(inputs), job)
    return GraphRun(
        graph=job.graph,
        runtime=runtime,
        load_ns=load_ns,
        first_ns=samples.warmup[0],
        warmup_ns=samples.warmup,
        samples_ns=samples.counted,
        cpu_ns=samples.cpu_ns,
        peak_bytes=peak_bytes(),
        threads=job.threads,
        affinity=affinity,
        notes=(_resident(before), *(() if samples.stable else (_unstable(job),))),
    )


def run_session(job: Job) -> SessionRun:
    """Load every graph, run each once in order, then run again the one that answers prompts.

    A bundle of one graph has no click of its own: every answer takes the whole graph.
    """
    hold_to(job.cores)
    bundle, kind, runtime = _open(job)
    graphs = in_order(bundle.manifest.graphs)
    inputs = {graph.spec.name: golden_inputs(bundle, graph) for graph in graphs}
    before = peak_bytes()
    start = clock_ns()
    sessions = [kind.open(bundle.file(g.spec.name), g, job.threads) for g in graphs]
    load_ns = clock_ns() - start
    _chain(graphs, sessions, inputs)
    first_mask_ns = clock_ns() - start
    clicks: tuple[int, ...] = ()
    clicked = repeated(graphs)
    if clicked is not None:
        session, given = sessions[graphs.index(clicked)], inputs[clicked.spec.name]
        clicks = time_calls(lambda: session.run(given), job).counted
    return SessionRun(
        runtime, load_ns, first_mask_ns, clicks, peak_bytes(), notes=(_resident(before),)
    )


def _open(job: Job) -> tuple[Bundle, EngineKind, str]:
    """The bundle, the engine that runs it here, and the runtime's name and version."""
    bundle = Bundle(Path(job.folder), read_manifest(Path(job.folder)))
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
    sessions: Sequence[Session],
    inputs: dict[str, dict[str, Array]],
) -> None:
    """Run the graphs in order; each output feeds later inputs of the same name."""
    outputs: dict[str, dict[str, Array]] = {}
    for at, (graph, session) in enumerate(zip(graphs, sessions, strict=True)):
        spec, taken = graph.spec, inputs[graph.spec.name]
        tensors = {tensor.name: tensor for tensor in spec.inputs}
        for name, feed in feeds(graph, graphs[:at]).items():
            taken[name] = _handed_on(outputs[feed.graph][name], feed.output, tensors[name])
        outputs[spec.name] = session.run(taken)


def _handed_on(array: Array, given: TensorSpec, taken: TensorSpec) -> Array:
    same = (given.shape, given.dtype, given.layout) == (taken.shape, taken.dtype, taken.layout)
    return array if same else to_layout(from_layout(array, given), taken)


def time_calls(
    call: Callable[[], object], job: Job, clock: Callable[[], int] = clock_ns
) -> Samples:
    """Call until times are stable, then as often and as long as the job says."""
    gc.collect()
    gc.disable()
    warmup = [_timed(call, clock)]
    began = clock() - warmup[0]
    while not stable(warmup) and clock() - began < job.warmup_seconds * NANO:
        warmup.append(_timed(call, clock))
    counted: list[int] = []
    cpu, began = process_time_ns(), clock()
    while len(counted) < job.runs or clock() - began < job.seconds * NANO:
        counted.append(_timed(call, clock))
    cpu = process_time_ns() - cpu
    gc.enable()
    return Samples(tuple(warmup), tuple(counted), cpu, stable(warmup))


def stable(times: Sequence[int]) -> bool:
    """Whether the last calls took as long as those before them."""
    if len(times) < 2 * WINDOW:
        return False
    before, last = times[-2 * WINDOW : -WINDOW], times[-WINDOW:]
    then, now = statistics.median(before), statistics.median(last)
    return abs(now - then) <= STABLE * then


def _timed(call: Callable[[], object], clock: Callable[[], int]) -> int:
    start = clock()
    call()
    return clock() - start


def _resident(before: int) -> str:
    return f"{RESIDENT}, {before / 2**20:.0f} MB were Python, the toolkit and the inputs"


def _unstable(job: Job) -> str:
    return f"times were not stable after {job.warmup_seconds:g} s of warm-up"


def parse_job(data: Mapping[str, Any]) -> Job:
    """From JSON."""
    return Job(**{**data, "cores": tuple(data["cores"])})


def main() -> int:
    """A job on stdin, a run on stdout; an error of ours is one line on stderr."""
    job = parse_job(json.load(sys.stdin))
    try:
        run: GraphRun | SessionRun = run_graph(job) if job.graph else run_session(job)
    except SamExportError as error:
        sys.stderr.write(f"{ERROR}{error}\n")
        return error.exit_status
    sys.stdout.write(json.dumps(asdict(run)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
