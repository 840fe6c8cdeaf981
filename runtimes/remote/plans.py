"""A bundle as work for a device: the job, the files to send, the files to fetch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from exporter.bundle.flow import feeds, of_masks, order_graphs, repeated_graphs
from exporter.bundle.folder import Bundle
from exporter.bundle.goldens import Goldens
from exporter.bundle.layouts import Array, to_layout
from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import BundleError, RunnerError
from runtimes.device import Method
from runtimes.engines import LoadedGraph
from runtimes.remote.job import (
    CHECK,
    GRAPH,
    SESSION,
    GraphJob,
    Library,
    Link,
    RunnerCase,
    RunnerJob,
)

_DIGITS = 16
"""Of a sha256 in a name on the device."""


@dataclass(frozen=True)
class Setting:
    """What a job takes of a method; `cores` are numbers, none for all."""

    threads: int
    cores: tuple[int, ...]
    delegate: str
    runs: int
    seconds: float
    warmup_seconds: float
    warmup_least_seconds: float
    stable_calls: int
    stable_within: float

    @classmethod
    def of(cls, method: Method, cores: tuple[int, ...]) -> Setting:
        """Make the plan of a method; its `cores` are numbers by now, from who knows the device."""
        taken = {f.name: getattr(method, f.name) for f in fields(cls) if f.name != "cores"}
        return cls(cores=cores, **taken)


@dataclass(frozen=True)
class DevicePlan:
    """One process on a device.

    Attributes:
        job: what it does.
        files: name in the work folder -> a local file or the bytes themselves; a name carries a
            hash of what it holds, so what is there already need not be sent again.
        outputs: files that it writes.
    """

    job: RunnerJob
    files: Mapping[str, Path | bytes]
    outputs: tuple[str, ...] = ()


@dataclass
class Draft:
    """A plan while it is made: the bundle, its goldens, and the files to send."""

    bundle: Bundle
    goldens: Goldens
    files: dict[str, Path | bytes] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The bundle's on the device."""
        hashes = repr(sorted(self.bundle.manifest.files.items())).encode()
        return f"bundle-{hashlib.sha256(hashes).hexdigest()[:_DIGITS]}"

    def model(self, graph: GraphFile) -> str:
        """Take the graph's file along, with the weights that lie beside it."""
        for name in self.bundle.manifest.files:
            if name == graph.file or name.startswith((f"{graph.file}.", f"{graph.file}/")):
                self.files[f"{self.folder}/{name}"] = self.bundle.path / name
        return f"{self.folder}/{graph.file}"

    def tensor(self, array: Array) -> str:
        """Take an input along."""
        content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        name = f"in-{hashlib.sha256(content).hexdigest()[:_DIGITS]}.bin"
        self.files[name] = content
        return name

    def inputs(self, graph: GraphFile, case: str) -> dict[str, str | Link]:
        """Write the golden inputs of a case as files."""
        given = self.goldens.inputs(graph.spec, case)
        for spec in graph.spec.inputs:
            if given[spec.name].size != int(np.prod(spec.shape)):
                raise BundleError(
                    f"golden {graph.spec.name}/{case}/{spec.name} does not fit the graph's input "
                    f"{spec.shape}; export the bundle again"
                )
        return {t.name: self.tensor(to_layout(given[t.name], t)) for t in graph.spec.inputs}

    def entry(self, graph: GraphFile, cases: tuple[RunnerCase, ...]) -> GraphJob:
        """Describe the graph with these cases."""
        return GraphJob(graph.spec, self.model(graph), cases, graph.signature)


def graph_plan(bundle: Bundle, graph: str, library: Library, setting: Setting) -> DevicePlan:
    """Load one graph and time it on its first golden case."""
    draft = Draft(bundle, bundle.goldens())
    entry = bundle.manifest.graph(graph)
    case = draft.goldens.cases(graph)[0]
    jobs = (draft.entry(entry, (RunnerCase(case, draft.inputs(entry, case)),)),)
    return DevicePlan(runner_job(GRAPH, library, setting, jobs), draft.files)


def session_plan(bundle: Bundle, library: Library, setting: Setting) -> DevicePlan:
    """Load every graph, run each once, then again and again those that answer prompts."""
    draft = Draft(bundle, bundle.goldens())
    jobs: list[GraphJob] = []
    for graph in of_masks(bundle.manifest.graphs):
        case = draft.goldens.cases(graph.spec.name)[0]
        inputs = draft.inputs(graph, case) | links(graph, jobs)
        jobs.append(draft.entry(graph, (RunnerCase(case, inputs),)))
    used = {given for job in jobs for given in job.cases[0].inputs.values()}
    files = {n: c for n, c in draft.files.items() if n in used or not n.startswith("in-")}
    answers = tuple(each.spec.name for each in repeated_graphs(jobs))
    job = runner_job(SESSION, library, setting, tuple(jobs))
    return DevicePlan(replace(job, repeat=answers), files)


def check_plan(bundle: Bundle, library: Library, setting: Setting) -> DevicePlan:
    """Run every golden case of every graph; a fed graph runs again on the device's own outputs.

    `replay` turns its outputs into loaded graphs for the parity check.
    """
    draft = Draft(bundle, bundle.goldens())
    jobs: list[GraphJob] = []
    written: dict[tuple[str, str], str] = {}
    for graph in order_graphs(bundle.manifest.graphs):
        name = graph.spec.name
        cases = [
            _writing(graph, RunnerCase(case, draft.inputs(graph, case)))
            for case in draft.goldens.cases(name)
        ]
        written |= {(name, output): file for output, file in cases[0].outputs.items()}
        instead = {n: written[feed.graph, n] for n, feed in feeds(graph, jobs).items()}
        for case in tuple(cases) if instead else ():
            if not any(draft.goldens.owns(name, case.name, n) for n in instead):
                again = RunnerCase(f"{case.name}+encoded", {**case.inputs, **instead})
                cases.append(_writing(graph, again))
        jobs.append(draft.entry(graph, tuple(cases)))
    outputs = tuple(f for job in jobs for case in job.cases for f in case.outputs.values())
    return DevicePlan(runner_job(CHECK, library, setting, tuple(jobs)), draft.files, outputs)


def replay(plan: DevicePlan, pulled: Mapping[str, bytes]) -> Callable[[str], LoadedGraph]:
    """Map a graph name to a loaded graph that answers as the device did in `plan`, a `check_plan`.

    It answers the inputs of the plan's cases, by their bytes, and no others.

    Args:
        plan: what was run.
        pulled: every file of `plan.outputs`.

    Raises:
        RunnerError: a file is missing, or is not of its tensor's size.
    """
    missing = [name for name in plan.outputs if name not in pulled]
    if missing:
        raise RunnerError(f"the device gave no {missing[0]}, one of {len(plan.outputs)} outputs")
    inputs = {n: c for n, c in plan.files.items() if isinstance(c, bytes)} | dict(pulled)
    graphs = {job.spec.name: _Recorded(job, inputs) for job in plan.job.graphs}
    return graphs.__getitem__


class _Recorded:
    """A graph's answers, by what was asked."""

    def __init__(self, job: GraphJob, files: Mapping[str, bytes]) -> None:
        self.spec = job.spec
        self.answers: dict[bytes, dict[str, Array]] = {}
        for case in job.cases:
            asked = b"".join(files[str(case.inputs[t.name])] for t in self.spec.inputs)
            self.answers[hashlib.sha256(asked).digest()] = {
                t.name: _array(t, files[case.outputs[t.name]]) for t in self.spec.outputs
            }

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `LoadedGraph`. RunnerError for inputs that were not in the plan."""
        asked = b"".join(np.ascontiguousarray(inputs[t.name]).tobytes() for t in self.spec.inputs)
        answer = self.answers.get(hashlib.sha256(asked).digest())
        if answer is None:
            raise RunnerError(f"the device was not asked for these inputs of {self.spec.name}")
        return answer


def _array(spec: TensorSpec, content: bytes) -> Array:
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    if len(content) != int(np.prod(spec.shape)) * dtype.itemsize:
        raise RunnerError(f"the device gave {len(content)} bytes of {spec.name} {spec.shape}")
    return np.frombuffer(content, dtype).reshape(spec.shape).astype(spec.dtype, copy=False)


def _writing(graph: GraphFile, case: RunnerCase) -> RunnerCase:
    stem = f"out-{graph.spec.name}-{case.name}"
    return replace(case, outputs={t.name: f"{stem}-{t.name}.bin" for t in graph.spec.outputs})


def links(graph: GraphFile, earlier: list[GraphJob]) -> dict[str, str | Link]:
    """List the inputs that earlier graphs give. BundleError if one would need another layout."""
    taken = {tensor.name: tensor for tensor in graph.spec.inputs}
    links: dict[str, str | Link] = {}
    for name, feed in feeds(graph, earlier).items():
        require_same(graph.spec, taken[name], feed.graph, feed.output)
        links[name] = Link(feed.graph, name)
    return links


def require_same(spec: GraphSpec, taken: TensorSpec, graph: str, given: TensorSpec) -> None:
    """BundleError if an input is not what an earlier graph gives for it, byte by byte."""
    if given != taken:
        raise BundleError(
            f"{spec.name} takes {taken.name} in another shape, dtype or layout than {graph} gives "
            "it: it cannot be handed on as it is"
        )


def runner_job(
    mode: str, library: Library, setting: Setting, graphs: tuple[GraphJob, ...]
) -> RunnerJob:
    """Make the job of a plan."""
    return RunnerJob(
        mode=mode,
        runtime=library.runtime,
        library=library.file,
        version=library.version,
        graphs=graphs,
        **vars(setting),
    )
