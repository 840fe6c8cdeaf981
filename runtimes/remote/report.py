"""The runner's answer: one JSON object on stdout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from exporter.bundle.reading import parse
from exporter.errors import BundleError, RunnerError
from runtimes.device import GraphRun, SessionRun
from runtimes.remote.job import PROTOCOL

FALLEN = 0.9
"""A core whose clock after a run is below this share of that before it was slowed down."""


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

    def graph_run(self, graph: str) -> GraphRun:
        """Put a `graph` job into the words of measuring; RunnerError for another graph's."""
        if self.mode != "graph" or graph not in self.load_ns or not self.samples_ns:
            raise RunnerError(f"the runner's report has no times of {graph}")
        unstable = () if self.stable else ("times were not stable when the warm-up ended",)
        slowed = [
            c for c, khz in self.khz_after.items() if khz < FALLEN * self.khz_before.get(c, 0)
        ]
        fallen = (f"the clock fell during the run (core {', '.join(slowed)})",) if slowed else ()
        return GraphRun(
            graph=graph,
            runtime=self.runtime,
            load_ns=self.load_ns[graph],
            first_ns=self.first_ns[graph],
            warmup_ns=self.warmup_ns,
            samples_ns=self.samples_ns,
            cpu_ns=self.cpu_ns,
            peak_bytes=self.peak_bytes,
            threads=self.threads,
            affinity=self.affinity,
            notes=(*self.notes, *unstable, *fallen),
        )

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
