"""The runner's answer: one JSON object on stdout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from exporter.bundle.reading import parse
from exporter.errors import BundleError, RunnerError
from runtimes.device import GraphRun, SessionRun
from runtimes.frames import FramePart, frame_runs, frame_title
from runtimes.remote.job import PROTOCOL

FALLEN = 0.9
"""A core whose clock after a run is below this share of that before it was slowed down."""


@dataclass(frozen=True)
class StageTimes:
    """What each graph took of a whole; `RunnerReport.samples_ns` are the totals.

    Attributes:
        loaded_bytes: the most resident memory before the first picture or frame, if /proc tells.
        calls: graph -> calls in one run.
        graph_ns: graph -> the time of these calls together, for each run.
    """

    loaded_bytes: int | None
    calls: dict[str, int]
    graph_ns: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class EverythingTimes(StageTimes):
    """Of a job of everything; `prompts` are calls of the graphs that answer prompts."""

    prompts: int


@dataclass(frozen=True)
class FrameTimes(StageTimes):
    """Of a job of a frame; `objects` are calls of the graphs that an object needs."""

    objects: int


@dataclass(frozen=True)
class EverythingRun:
    """Everything of one picture as far as graphs do it: the image's once, then every prompt.

    What an app does beside them - upscaling, filters, run lengths - is in none of these times.

    Attributes:
        prompts: calls of the graphs that answer prompts.
        total_ns: of each run, from the image to the last prompt.
        graph_ns: graph -> its calls together, for each run.
        calls: graph -> its calls in one run; a graph that makes masks has fewer than prompts.
        peak_bytes: the most resident memory; None if the system does not tell.
        loaded_bytes: the same before the first image.
    """

    runtime: str
    prompts: int
    total_ns: tuple[int, ...]
    graph_ns: dict[str, tuple[int, ...]]
    calls: dict[str, int]
    peak_bytes: int | None
    loaded_bytes: int | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunnerReport:
    """The answer of a run. Times in nanoseconds, wall clock (monotonic, raw).

    Attributes:
        runner: PROTOCOL of the program.
        mode: the job's.
        runtime: name and version.
        load_ns: graph -> loading it.
        first_ns: graph -> its first call.
        warmup_ns: calls before times were stable, the first among them; `graph` alone.
        stable: whether times became stable within the limit.
        samples_ns: every call that counts; in `session` the calls after the first mask.
        cpu_ns: CPU time of the process over the samples, all threads together.
        first_mask_ns: `session` alone: library, all loads, one call of every graph.
        peak_bytes: the most resident memory (VmHWM); None if /proc does not tell.
        threads: of the runtime.
        affinity: cores the process may use.
        khz_before: core -> frequency before the samples, if the system tells.
        khz_after: the same after them.
        notes: what a reader should know.
        everything: of a job of that mode alone; so too `frame`.
    """

    runner: int
    mode: str
    runtime: str
    load_ns: dict[str, int]
    first_ns: dict[str, int]
    warmup_ns: tuple[int, ...]
    stable: bool
    samples_ns: tuple[int, ...]
    cpu_ns: int | None
    first_mask_ns: int | None
    peak_bytes: int | None
    threads: int
    affinity: tuple[int, ...]
    khz_before: dict[str, int]
    khz_after: dict[str, int]
    notes: tuple[str, ...]
    everything: EverythingTimes | None = None
    frame: FrameTimes | None = None

    def graph_run(self, graph: str) -> GraphRun:
        """Put a `graph` job into the words of measuring; RunnerError for another graph's."""
        if self.mode != "graph" or graph not in self.load_ns or not self.samples_ns:
            raise RunnerError(f"the runner's report has no times of {graph}")
        return self._timed(graph, self.load_ns[graph], self.first_ns[graph])

    def session_run(self) -> SessionRun:
        """Put a `session` job into the words of measuring; RunnerError if it was none.

        A job that repeats no graph has no clicks.
        """
        if self.mode != "session" or self.first_mask_ns is None:
            raise RunnerError("the runner's report has no times of a session")
        return SessionRun(
            runtime=self.runtime,
            load_ns=sum(self.load_ns.values()),
            first_mask_ns=self.first_mask_ns,
            click_ns=self.samples_ns,
            peak_bytes=self.peak_bytes,
        )

    def everything_run(self) -> EverythingRun:
        """Put a job of `everything` into the words of measuring; RunnerError if it was none."""
        times = self.everything
        if self.mode != "everything" or times is None or not self.samples_ns:
            raise RunnerError("the runner's report has no times of everything")
        self._require_every_run(times)
        return EverythingRun(
            runtime=self.runtime,
            prompts=times.prompts,
            total_ns=self.samples_ns,
            graph_ns=times.graph_ns,
            calls=times.calls,
            peak_bytes=self.peak_bytes,
            loaded_bytes=times.loaded_bytes,
            notes=(*self.notes, *self._slowed()),
        )

    def frame_runs(self, objects: int) -> tuple[GraphRun, ...]:
        """Put a `frame` job into the words of measuring: the whole frame, then each graph's part.

        Raises:
            RunnerError: it was none, or one of other objects.
        """
        times = self.frame
        if self.mode != "frame" or times is None or not self.samples_ns:
            raise RunnerError("the runner's report has no times of a frame")
        if times.objects != objects:
            raise RunnerError(f"the runner tracked {times.objects} objects, not {objects}")
        self._require_every_run(times)
        parts = [
            FramePart(graph, self.load_ns[graph], self.first_ns[graph], spent)
            for graph, spent in times.graph_ns.items()
        ]
        whole = self._timed(
            frame_title(objects), sum(self.load_ns.values()), sum(self.first_ns.values())
        )
        return frame_runs(whole, objects, parts)

    def _timed(self, title: str, load_ns: int, first_ns: int) -> GraphRun:
        unstable = () if self.stable else ("times were not stable when the warm-up ended",)
        return GraphRun(
            graph=title,
            runtime=self.runtime,
            load_ns=load_ns,
            first_ns=first_ns,
            warmup_ns=self.warmup_ns,
            samples_ns=self.samples_ns,
            cpu_ns=self.cpu_ns,
            peak_bytes=self.peak_bytes,
            threads=self.threads,
            affinity=self.affinity,
            notes=(*self.notes, *unstable, *self._slowed()),
        )

    def _require_every_run(self, times: StageTimes) -> None:
        if any(len(spent) != len(self.samples_ns) for spent in times.graph_ns.values()):
            raise RunnerError("the runner's report does not time every graph in every run")

    def _slowed(self) -> tuple[str, ...]:
        slowed = [
            c for c, khz in self.khz_after.items() if khz < FALLEN * self.khz_before.get(c, 0)
        ]
        return (f"the clock fell during the run (core {', '.join(slowed)})",) if slowed else ()


def parse_report(stdout: str) -> RunnerReport:
    """Read the answer.

    Raises:
        RunnerError: the runner reported an error (its own words); its answer is empty, cut short,
            no JSON, of another version, or is missing a field.
    """
    data = _object(stdout)
    if data.get("runner") != PROTOCOL:
        raise RunnerError(
            f"the runner on the device speaks version {data.get('runner')!r}, not {PROTOCOL}: "
            "clear its folder and build it again"
        )
    if "error" in data:
        raise RunnerError(f"the runner failed: {data['error']}")
    try:
        return parse(RunnerReport, data, "report")
    except BundleError as error:
        raise RunnerError(f"the runner's answer is not whole: {error}") from None


def _object(stdout: str) -> dict[str, Any]:
    text = stdout.strip()
    if not text:
        raise RunnerError("the runner gave no answer: it was stopped, or could not start")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        end = text[-60:].replace("\n", " ")
        raise RunnerError(
            f"the runner's answer is cut short or garbled ({error.msg} at {error.pos} of "
            f"{len(text)}, ends with {end!r})"
        ) from None
    if not isinstance(data, dict):
        raise RunnerError(f"the runner's answer is a {type(data).__name__}, not an object")
    return data
