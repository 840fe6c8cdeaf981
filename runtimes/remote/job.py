"""What the runner is to do, as a text that a C program can read without a library.

A line is a word and its values, parted by spaces; `end` is the last one, so that a file cut short
is seen. Paths are on the device, relative to the folder that the runner is started in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.closest import unknown
from exporter.errors import RequestError

PROTOCOL = 3
"""Of the job file and of the report; runner.h has the same number."""
CHECK, GRAPH, SESSION, EVERYTHING = MODES = ("check", "graph", "session", "everything")
MOST_CALLS = 64
"""That the runner compares at once; MAX_WINDOW in runner.h."""
_WORD = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Library:
    """A runtime on the device: its name, its file there, its version (`-`: any)."""

    runtime: str
    file: str
    version: str


@dataclass(frozen=True)
class Link:
    """An input taken from `output` of `graph`, which comes earlier in the job."""

    graph: str
    output: str


@dataclass(frozen=True)
class RunnerCase:
    """One call of a graph.

    Attributes:
        name: for messages.
        inputs: name -> a raw little-endian file in the input's own shape and layout, or a link.
        outputs: name -> the file to write it to; other outputs are not written.
    """

    name: str
    inputs: Mapping[str, str | Link]
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GraphJob:
    """One graph to load.

    Attributes:
        spec: names, shapes and dtypes; the model file must agree.
        model: its file.
        cases: its calls: all of them for `check`, else the first one.
        signature: the TFLite signature to call; empty for the first.
    """

    spec: GraphSpec
    model: str
    cases: tuple[RunnerCase, ...]
    signature: str = ""


@dataclass(frozen=True)
class Sweep:
    """An input that has another value at each prompt: the rows of `file`, one after the other."""

    graph: str
    tensor: str
    file: str


@dataclass(frozen=True)
class Gate:
    """When a graph is run: if a value at one of `places` of an earlier output is above `least`."""

    graph: str
    source: Link
    least: float
    places: tuple[int, ...]


@dataclass(frozen=True)
class RunnerJob:
    """One process on the device.

    Attributes:
        mode: `check` calls every case of every graph once and writes outputs. `graph` loads the
            one graph and times it. `session` loads every graph, calls each once in turn, then
            calls those of `repeat` at least `runs` times. `everything` calls each graph that is not
            in `repeat` once, then those in it for each of `prompts`, all that `runs` times and once
            before that does not count.
        runtime: its name; the runner refuses one that it does not have.
        library: the runtime's shared library.
        version: of the library, for a runtime that cannot tell its own (LiteRT).
        cores: core numbers to hold the process to; empty for all.
        delegate: what computes; a run that falls back to the CPU fails.
        runs: timed calls, at least.
        seconds: time for them, at least; for `graph` alone.
        warmup_seconds: the most that is spent on waiting for stable times; for `graph` alone.
        warmup_least_seconds: see `Method`; so too `stable_calls` and `stable_within`.
        repeat: the graphs that a session calls again, one after the other; empty for none.
        prompts: calls of these graphs in `everything`; 0 in other modes, which have no `sweeps`
            and no `gates` either.
    """

    mode: str
    runtime: str
    library: str
    version: str
    graphs: tuple[GraphJob, ...]
    threads: int = 2
    cores: tuple[int, ...] = ()
    delegate: str = "cpu"
    runs: int = 50
    seconds: float = 10.0
    warmup_seconds: float = 5.0
    warmup_least_seconds: float = 0.3
    stable_calls: int = 5
    stable_within: float = 0.02
    repeat: tuple[str, ...] = ()
    prompts: int = 0
    sweeps: tuple[Sweep, ...] = ()
    gates: tuple[Gate, ...] = ()

    def __post_init__(self) -> None:
        """RequestError if no runner could do it."""
        if self.mode not in MODES:
            raise unknown("mode", self.mode, MODES)
        if self.threads < 1 or self.runs < 1 or self.seconds < 0 or self.warmup_seconds < 0:
            raise RequestError("threads and runs are 1 or more, and no time is below 0")
        if not self.graphs or (self.mode == GRAPH and len(self.graphs) != 1):
            raise RequestError(f"a {self.mode} job cannot have {len(self.graphs)} graphs")
        if not 1 <= self.stable_calls <= MOST_CALLS:
            raise RequestError(f"stable_calls is 1 to {MOST_CALLS}, not {self.stable_calls}")
        names = [graph.spec.name for graph in self.graphs]
        for name in self.repeat:
            if name not in names:
                raise RequestError(f"the job has no graph {name!r} to repeat")
        self._check_prompts()
        if any(not graph.cases for graph in self.graphs):
            raise RequestError("every graph of a job needs a case")

    def _check_prompts(self) -> None:
        if (self.mode == EVERYTHING) != (self.prompts > 0 and bool(self.repeat and self.sweeps)):
            raise RequestError("a job of everything, and no other, has prompts for its graphs")

    def text(self) -> str:
        """Write the job file. RequestError for a name that has a space or is not ASCII."""
        return "".join(f"{' '.join(_checked(line))}\n" for line in self._lines())

    def _lines(self) -> Iterator[tuple[str, ...]]:
        yield "sam-runner", str(PROTOCOL)
        yield "mode", self.mode
        yield "runtime", self.runtime, self.version
        yield "library", self.library
        yield "delegate", self.delegate
        yield "threads", str(self.threads)
        yield "cores", ",".join(map(str, self.cores)) or "all"
        yield "runs", str(self.runs)
        yield "seconds", f"{self.seconds:.6f}"
        yield "warmup_seconds", f"{self.warmup_seconds:.6f}"
        yield "warmup_least_seconds", f"{self.warmup_least_seconds:.6f}"
        yield "stable_calls", str(self.stable_calls)
        yield "stable_within", f"{self.stable_within:.6f}"
        for graph in self.graphs:
            yield "graph", graph.spec.name
            yield "model", graph.model
            yield "signature", graph.signature or "-"
            yield from (_tensor("input", t) for t in graph.spec.inputs)
            yield from (_tensor("output", t) for t in graph.spec.outputs)
            for case in graph.cases if self.mode == CHECK else graph.cases[:1]:
                yield from _case(case)
        for name in self.repeat:
            yield "repeat", name
        if self.prompts:
            yield "prompts", str(self.prompts)
        for sweep in self.sweeps:
            yield "sweep", sweep.graph, sweep.tensor, sweep.file
        for gate in self.gates:
            places = ",".join(map(str, gate.places))
            yield (
                "gate",
                gate.graph,
                gate.source.graph,
                gate.source.output,
                repr(gate.least),
                places,
            )
        yield ("end",)


def _tensor(word: str, tensor: TensorSpec) -> tuple[str, ...]:
    return word, tensor.name, tensor.dtype, ",".join(map(str, tensor.shape))


def _case(case: RunnerCase) -> Iterator[tuple[str, ...]]:
    yield "case", case.name
    for name, given in case.inputs.items():
        if isinstance(given, Link):
            yield "link", name, given.graph, given.output
        else:
            yield "read", name, given
    for name, file in case.outputs.items():
        yield "write", name, file


def _checked(line: tuple[str, ...]) -> tuple[str, ...]:
    for value in line:
        if not _WORD.fullmatch(value):
            raise RequestError(
                f"the runner cannot take {value!r} ({line[0]}): no spaces, ASCII alone"
            )
    return line
