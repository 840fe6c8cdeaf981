"""This machine: the engines of `runtimes/`, each measured graph in a process of its own.

A host's times say how bundles compare on this host and that nothing broke; they are no phone's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from exporter import child
from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Figure
from exporter.bundle.reading import parse
from exporter.errors import RequestError, RunnerError, TooHotError
from runtimes.device import (
    AUTO,
    CPU,
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
from runtimes.frame_run import FrameJob
from runtimes.frames import frame_title
from runtimes.host_facts import host_condition, host_facts
from runtimes.host_run import HostJob
from runtimes.process import allowed_cores, crowding

WAYS = ("engine",)
WARMER = 5.0
"""Degrees above the start at which a repeat may begin."""
POLL_SECONDS = 2.0
CROWD = 4
"""Threads a core that are still measured: some runtimes' own choice is two."""
LOG = logging.getLogger("sam_export.device")


@dataclass(frozen=True)
class HostDevice:
    """This machine as a device."""

    def facts(self) -> DeviceFacts:
        """See `Device`."""
        return host_facts()

    @contextmanager
    def open(self, method: Method) -> Iterator[Bench]:
        """See `Device`. RequestError if the method asks for a phone's way, delegate or mode."""
        if method.way not in (AUTO, *WAYS):
            raise RequestError(
                f"the host has no way {method.way!r}; choose from {', '.join((AUTO, *WAYS))}"
            )
        if method.delegate != CPU:
            raise RequestError(
                f"the host measures on its CPU alone, not on {method.delegate!r}: leave --delegate "
                "out or choose a phone"
            )
        if method.modes:
            raise RequestError(f"the host has no mode --{method.modes[0]}: leave it out")
        cores = chosen_cores(method.cores, host_facts())
        _say_if_crowded(method.threads, len(cores or allowed_cores()))
        yield HostBench(method, cores)


@dataclass(frozen=True)
class HostBench:
    """See `Bench`. `cores` is what every process is held to; empty for all."""

    method: Method
    cores: tuple[int, ...]

    def prepare(self, bundle: Bundle) -> None:
        """Nothing to copy; RequestError here and now if nothing can run or time the bundle."""
        kind = choose_engine(bundle.manifest.target)
        if kind.reference:
            raise RequestError(
                f"{bundle.path.name} cannot be timed here: {kind.name} is a reference runtime; its "
                "times say nothing of a phone"
            )

    def check(self, bundle: Bundle) -> tuple[Figure, ...]:
        """Run every golden case in a process of its own."""
        engine = choose_engine(bundle.manifest.target).name
        command = ["runtimes.parity", str(bundle.path), "--json", "--engine", engine]
        command += ["--threads", str(self.method.threads)]
        what = f"the parity check of {bundle.path.name}"
        figures = self._apart(command, None, what)["figures"]
        return tuple(parse(Figure, figure, "figure") for figure in figures)

    def run_graph(self, bundle: Bundle, graph: str) -> GraphRun:
        """See `Bench`. An interpreter is not timed."""
        kind = choose_engine(bundle.manifest.target)
        if kind.interprets:
            return GraphRun.untimed(graph, kind.name, _why(kind))
        return parse(GraphRun, self._measure(bundle, graph), f"{bundle.path.name} {graph}")

    def run_session(self, bundle: Bundle) -> SessionRun:
        """See `Bench`. An interpreter is not timed."""
        kind = choose_engine(bundle.manifest.target)
        if kind.interprets:
            return SessionRun.untimed(kind.name, _why(kind))
        return parse(SessionRun, self._measure(bundle, ""), f"{bundle.path.name} session")

    def run_frame(self, bundle: Bundle, objects: int) -> tuple[GraphRun, ...]:
        """See `TracksFrames`. An interpreter is not timed."""
        kind = choose_engine(bundle.manifest.target)
        if kind.interprets:
            return (GraphRun.untimed(frame_title(objects), kind.name, _why(kind)),)
        job = FrameJob(str(bundle.path), objects, self.method, self.cores)
        what = f"{bundle.path.name} {frame_title(objects)}"
        runs = self._apart(["runtimes.frame_run"], asdict(job), what)["runs"]
        return tuple(parse(GraphRun, run, what) for run in runs)

    def condition(self) -> Condition:
        """See `Bench`."""
        return host_condition()

    def cool(self, start: Condition) -> Condition:
        """Wait until no sensor is much warmer than at `start`; at once if there is none."""
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
        job = HostJob(str(bundle.path), graph, self.method, self.cores)
        what = f"{bundle.path.name} {graph or 'session'}"
        return self._apart(["runtimes.host_run"], asdict(job), what)

    def _apart(self, command: list[str], given: object, what: str) -> Any:
        return child.call(
            command,
            given,
            what=what,
            deadline=self.method.deadline_seconds,
            advice="lower --runs and --seconds, or give --deadline more",
            failure=RunnerError,
        )


def _say_if_crowded(threads: int, cores: int) -> None:
    """Warn of more threads than cores. RequestError for so many that nothing is measured."""
    word = crowding(threads, cores)
    if word and threads > CROWD * cores:
        raise RequestError(f"{word}: give --threads {cores}, or {CROWD * cores} at most")
    if word:
        LOG.warning("%s: the times say so; --threads %d is as many as run at once", word, cores)


def chosen_cores(cores: str, facts: DeviceFacts) -> tuple[int, ...]:
    """`fast`, `all` or numbers -> core numbers; empty if that is every core.

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
        raise RequestError(f"the host has no core {strangers[0]} for us; choose from {known}")
    return wanted


def _warmer(start: Condition, now: Condition) -> str:
    """Which sensor is too warm, or empty."""
    before = {t.name: t.celsius for t in start.temperatures}
    for sensor in now.temperatures:
        if sensor.celsius > before.get(sensor.name, sensor.celsius) + WARMER:
            return f"{sensor.celsius:.0f} C at {sensor.kind}, {before[sensor.name]:.0f} at first"
    return ""


def _why(kind: EngineKind) -> str:
    return (
        f"not timed: {kind.name} is an interpreter that no app uses, and its time says nothing of "
        "a phone"
    )


def _find(identifier: str) -> Device:
    if identifier:
        raise RequestError(f"there is one host: --device host, not host:{identifier}")
    return HostDevice()


def _listed() -> tuple[Listed, ...]:
    return (Listed(HOST, host_facts(), host_condition()),)


KIND = DeviceKind(name=HOST, find=_find, listed=_listed, ways=WAYS)
