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
CHECK, GRAPH, SESSION, EVERYTHING, FRAME = MODES = (
    *("check", "graph", "session", "everything"),
    "frame",
)
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
class Best:
    """A row (axis 1) of an earlier graph's output: the one of `rows` that `rating` has highest."""

    graph: str
    output: str
    rating: str
    rows: tuple[int, ...]


Given = str | Link | Best
"""An input: a raw little-endian file in its own shape and layout, or what a graph gave."""


@dataclass(frozen=True)
class RunnerCase:
    """One call of a graph.

    Attributes:
        name: for messages.
        inputs: name -> what it is given.
        outputs: name -> the file to write it to; other outputs are not written.
    """

    name: str
    inputs: Mapping[str, Given]
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
class Kept:
    """An input that every object of a video has its own of: slots along axis 1.

    Attributes:
        graph: that takes it.
        tensor: its name.
        first: slot; it and those behind it are of the frames before, the oldest first.
        source: what takes the oldest's slot when a frame is done; None for ages, which move on.
    """

    graph: str
    tensor: str
    first: int
    source: Link | Best | None = None


@dataclass(frozen=True)
class RunnerJob:
    """One process on the device.

    Attributes:
        mode: `check` calls every case of every graph once and writes outputs. `graph` loads the
            one graph and times it. `session` loads every graph, calls each once in turn, then
            calls those of `repeat` at least `runs` times. `everything` calls each graph that is not
            in `repeat` once, then those in it for each of `prompts`, all that `runs` times and once
            before that does not count. `frame` calls each graph that is not in `repeat` once, then
            those in it for each of `objects`, which is timed as `graph` times a call.
        runtime: its name; the runner refuses one that it does not have.
        library: the runtime's shared library.
        version: of the library, for a runtime that cannot tell its own (LiteRT).
        cores: core numbers to hold the process to; empty for all.
        delegate: what computes; a run that falls back to the CPU fails.
        runs: timed calls, at least.
        seconds: time for them, at least; for `graph` and `frame`.
        warmup_seconds: the most that is spent on waiting for stable times; for these two as well.
        warmup_least_seconds: see `Method`; so too `stable_calls` and `stable_within`.
        repeat: the graphs that a session calls again, one after the other; empty for none.
        prompts: calls of these graphs in `everything`; 0 in other modes, which have no `sweeps`
            and no `gates` either.
        objects: that a `frame` is tracked for; 0 in other modes, which have nothing `kept` either.
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
    objects: int = 0
    kept: tuple[Kept, ...] = ()

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
        self._check_rounds()
        if any(not graph.cases for graph in self.graphs):
            raise RequestError("every graph of a job needs a case")

    def _check_rounds(self) -> None:
        if (self.mode == EVERYTHING) != (self.prompts > 0 and bool(self.repeat and self.sweeps)):
            raise RequestError("a job of everything, and no other, has prompts for its graphs")
        if (self.mode == FRAME) != (self.objects > 0 and bool(self.repeat and self.kept)):
            raise RequestError("a job of a frame, and no other, has objects with a bank")

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
        yield from self._rounds()
        yield ("end",)

    def _rounds(self) -> Iterator[tuple[str, ...]]:
        for name in self.repeat:
            yield "repeat", name
        if self.prompts:
            yield "prompts", str(self.prompts)
        for sweep in self.sweeps:
            yield "sweep", sweep.graph, sweep.tensor, sweep.file
        for gate in self.gates:
            places = ",".join(map(str, gate.places))
            source = gate.source.graph, gate.source.output
            yield "gate", gate.graph, *source, repr(gate.least), places
        if self.objects:
            yield "objects", str(self.objects)
        for kept in self.kept:
            yield _kept(kept)


def _tensor(word: str, tensor: TensorSpec) -> tuple[str, ...]:
    return word, tensor.name, tensor.dtype, ",".join(map(str, tensor.shape))


def _kept(kept: Kept) -> tuple[str, ...]:
    words = kept.graph, kept.tensor, str(kept.first)
    if kept.source is None:
        return ("turn", *words)
    how = "best" if isinstance(kept.source, Best) else "all"
    return ("keep", *words, how, *_source(kept.source))


def _source(given: Link | Best) -> tuple[str, ...]:
    if isinstance(given, Link):
        return given.graph, given.output
    return given.graph, given.output, given.rating, ",".join(map(str, given.rows))


def _case(case: RunnerCase) -> Iterator[tuple[str, ...]]:
    yield "case", case.name
    for name, given in case.inputs.items():
        if isinstance(given, str):
            yield "read", name, given
        else:
            yield "best" if isinstance(given, Best) else "link", name, *_source(given)
    for name, file in case.outputs.items():
        yield "write", name, file


def _checked(line: tuple[str, ...]) -> tuple[str, ...]:
    for value in line:
        if not _WORD.fullmatch(value):
            raise RequestError(
                f"the runner cannot take {value!r} ({line[0]}): no spaces, ASCII alone"
            )
    return line
