"""This machine: the engines of `runtimes/`, each measured graph in a process of its own.

A host's times say how bundles compare on this host and that nothing broke; they are no phone's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Figure
from exporter.bundle.reading import parse
from exporter.errors import (
    BundleError,
    ParityError,
    RequestError,
    RunnerError,
    SamExportError,
    TooHotError,
)
from runtimes.device import (
    HOST,
    Bench,
    Condition,
    Device,
    DeviceFacts,
    DeviceKind,
    GraphRun,
    Listed,
    Method,
    SessionRun,
    core_numbers,
)
from runtimes.engines import EngineKind, choose_engine
from runtimes.host_facts import allowed_cores, host_condition, host_facts
from runtimes.host_run import ERROR, Job

WAYS = ("auto", "engine")
DELEGATES = ("cpu",)
PARITY_ERROR = "parity: error: "
WARMER = 5.0
"""Degrees above the start at which a repeat may begin."""
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class HostDevice:
    """This machine as a device."""

    def facts(self) -> DeviceFacts:
        """See `Device`."""
        return host_facts()

    @contextmanager
    def open(self, method: Method) -> Iterator[Bench]:
        """See `Device`. RequestError for what only a phone has."""
        if method.way not in WAYS:
            raise RequestError(f"the host has no way {method.way!r}; there are: {', '.join(WAYS)}")
        if method.delegate not in DELEGATES:
            raise RequestError(
                f"the host measures on its CPU alone, not on {method.delegate!r}: leave --delegate "
                "out or choose a phone"
            )
        if method.fixed_performance:
            raise RequestError("--fixed-performance is a mode of Android; the host has none")
        yield HostBench(method, chosen_cores(method.cores, host_facts()))


@dataclass(frozen=True)
class HostBench:
    """See `Bench`. `cores` is what every process is held to; empty for all."""

    method: Method
    cores: tuple[int, ...]

    def prepare(self, bundle: Bundle) -> None:
        """Nothing to copy; RequestError here and now if nothing can run the bundle."""
        choose_engine(bundle.manifest.target)

    def check(self, bundle: Bundle) -> tuple[Figure, ...]:
        """Every golden case, in a process of its own."""
        engine = choose_engine(bundle.manifest.target).name
        command = ["-m", "runtimes.parity", str(bundle.path), "--json", "--engine", engine]
        answer = self._process([*command, "--threads", str(self.method.threads)], "", "parity")
        figures = answer["figures"]
        return tuple(parse(Figure, figure, "figure") for figure in figures)

    def run_graph(self, bundle: Bundle, graph: str) -> GraphRun:
        """See `Bench`. An interpreter is not timed."""
        kind = choose_engine(bundle.manifest.target)
        if kind.interprets:
            said = (_why(kind),)
            none: tuple[int, ...] = ()
            return GraphRun(
                graph, kind.name, 0, 0, none, none, None, None, 1, (), said, timed=False
            )
        return parse(GraphRun, self._measure(bundle, graph), f"{bundle.path.name} {graph}")

    def run_session(self, bundle: Bundle) -> SessionRun:
        """See `Bench`. An interpreter is not timed."""
        kind = choose_engine(bundle.manifest.target)
        if kind.interprets:
            return SessionRun(kind.name, 0, 0, (), None, timed=False, notes=(_why(kind),))
        return parse(SessionRun, self._measure(bundle, ""), f"{bundle.path.name} session")

    def condition(self) -> Condition:
        """See `Bench`."""
        return host_condition()

    def cool(self, start: Condition) -> Condition:
        """Wait until no sensor is much warmer than at `start`; at once where there is none."""
        end = time.monotonic() + self.method.cool_seconds
        while True:
            now = host_condition()
            warmer = _warmer(start, now)
            if not warmer:
                return now
            if time.monotonic() >= end:
                raise TooHotError(
                    f"the host is still {warmer} after {self.method.cool_seconds:g} s: let it "
                    "rest, or give --cool-limit more"
                )
            time.sleep(POLL_SECONDS)

    def _measure(self, bundle: Bundle, graph: str) -> Any:
        method = self.method
        job = Job(
            folder=str(bundle.path),
            graph=graph,
            runs=method.runs,
            seconds=method.seconds,
            warmup_seconds=method.warmup_seconds,
            threads=method.threads,
            cores=self.cores,
        )
        what = f"{bundle.path.name} {graph or 'session'}"
        return self._process(["-m", "runtimes.host_run"], json.dumps(asdict(job)), what)

    def _process(self, command: list[str], given: str, what: str) -> Any:
        """Run Python, and read the last line of its output as JSON."""
        deadline = self.method.deadline_seconds
        environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        try:
            ran = subprocess.run(
                [sys.executable, *command],
                input=given,
                capture_output=True,
                text=True,
                timeout=deadline,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RunnerError(
                f"{what} was not done after {deadline:g} s: lower --runs and --seconds, or give "
                "--deadline more"
            ) from None
        if ran.returncode:
            raise _failure(what, ran)
        return json.loads(ran.stdout.splitlines()[-1])


def chosen_cores(cores: str, facts: DeviceFacts) -> tuple[int, ...]:
    """`fast`, `all` or numbers -> core numbers; empty where that is every core.

    Raises:
        RequestError: a core that is not here.
    """
    here = allowed_cores()
    if cores == "all":
        return ()
    if cores == "fast":
        fastest = facts.clusters[-1].cores
        return () if set(fastest) == set(here) else fastest
    wanted = core_numbers(cores)
    strangers = [str(core) for core in wanted if core not in here]
    if strangers:
        known = ", ".join(str(core) for core in here)
        raise RequestError(f"the host has no core {strangers[0]} for us; there are: {known}")
    return wanted


def _failure(what: str, ran: subprocess.CompletedProcess[str]) -> SamExportError:
    """What a process that ended badly says, as one line."""
    lines = [line for line in ran.stderr.splitlines() if line.strip()]
    said = (lines or ["it said nothing"])[-1]
    if ran.returncode < 0:
        name = signal.Signals(-ran.returncode).name
        memory = ": not enough memory?" if name == "SIGKILL" else ""
        return RunnerError(f"{what} was ended by {name}{memory}")
    known = next((start for start in (ERROR, PARITY_ERROR) if said.startswith(start)), "")
    line = said.removeprefix(known)
    if known and ran.returncode == RequestError.exit_status:
        return BundleError(line)
    return ParityError(line) if known == PARITY_ERROR else RunnerError(f"{what} failed: {line}")


def _warmer(start: Condition, now: Condition) -> str:
    """Which sensor is too warm, or empty."""
    before = {t.name: t.celsius for t in start.temperatures}
    for sensor in now.temperatures:
        if sensor.celsius > before.get(sensor.name, sensor.celsius) + WARMER:
            return f"{sensor.celsius:.0f} C at {sensor.kind}, {before[sensor.name]:.0f} at first"
    return ""


def _why(kind: EngineKind) -> str:
    return (
        f"not timed: {kind.name} is an interpreter in numpy, and its time says nothing of a phone"
    )


def _find(identifier: str) -> Device:
    if identifier:
        raise RequestError(f"there is one host: --device host, not host:{identifier}")
    return HostDevice()


def _listed() -> tuple[Listed, ...]:
    return (Listed(HOST, host_facts(), host_condition()),)


KIND = DeviceKind(name=HOST, find=_find, listed=_listed)
