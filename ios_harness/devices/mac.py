"""This Mac: Core ML by coremltools, with chosen compute units. Its class is `host`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from exporter import child
from exporter.bundle.folder import Bundle
from exporter.bundle.reading import parse
from exporter.errors import DeviceError, RequestError, RunnerError
from ios_harness.units import CORE_ML as UNITS
from runtimes.device import (
    AUTO,
    Bench,
    DeviceFacts,
    DeviceKind,
    GraphRun,
    Listed,
    Method,
    Placed,
)
from runtimes.devices.host import HostBench
from runtimes.engines.coreml import UNITS as VARIABLE
from runtimes.host_facts import host_condition, host_facts

NAME = "mac"
COREML = "coreml"
NO_MAC = (
    "this is no Mac, and Core ML runs on Apple's systems alone: `--device host` runs a Core ML "
    "bundle in the package's own interpreter, for parity but no times"
)


@dataclass(frozen=True)
class MacDevice:
    """This Mac. See `Device`."""

    def facts(self) -> DeviceFacts:
        """See `Device`."""
        return replace(host_facts(), device=NAME)

    @contextmanager
    def open(self, method: Method) -> Iterator[Bench]:
        """See `Device`. RequestError for a way, delegate, mode or cores that it does not have."""
        if method.way != AUTO or method.modes:
            raise RequestError("a Mac has no ways and no modes: leave them out")
        if method.delegate not in UNITS:
            raise RequestError(
                f"a Mac has no delegate {method.delegate!r}; choose from {', '.join(UNITS)}"
            )
        if method.cores not in ("fast", "all"):
            raise RequestError("Apple's systems choose the cores themselves: leave --cores out")
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = method.delegate  # of the processes that measure
        try:
            yield MacBench(method, ())
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before


@dataclass(frozen=True)
class MacBench(HostBench):
    """See `Bench`. A graph's placement is asked once."""

    placed: set[tuple[Path, str]] = field(default_factory=set)

    def prepare(self, bundle: Bundle) -> None:
        """Nothing to copy. RequestError for a bundle of another target."""
        if bundle.manifest.target != COREML:
            raise RequestError(
                f"{bundle.path} is a {bundle.manifest.target} bundle, and mac runs {COREML}: "
                f"export it again with --target {COREML}, or measure it on --device host"
            )
        super().prepare(bundle)

    def run_graph(self, bundle: Bundle, graph: str) -> GraphRun:
        """See `Bench`."""
        run = super().run_graph(bundle, graph)
        if (bundle.path, graph) in self.placed:
            return run
        self.placed.add((bundle.path, graph))
        try:
            return replace(run, placement=self._placement(bundle, graph))
        except DeviceError as error:  # the plan is a forecast: the times are as good without it
            return replace(run, notes=(*run.notes, f"no placement: {error}"))

    def _placement(self, bundle: Bundle, graph: str) -> tuple[Placed, ...]:
        package = bundle.path / bundle.manifest.graph(graph).file
        told = child.call(
            ["ios_harness.placement"],
            {"package": str(package), "units": self.method.delegate},
            what=f"the compute plan of {bundle.path.name} {graph}",
            deadline=self.method.deadline_seconds,
            advice="give --deadline more",
            failure=RunnerError,
        )
        return tuple(parse(Placed, row, "placement") for row in told)


def _find(identifier: str) -> MacDevice:
    if sys.platform != "darwin":
        raise RequestError(NO_MAC)
    if identifier:
        raise RequestError(f"there is one Mac: --device {NAME}, not {NAME}:{identifier}")
    return MacDevice()


def _listed() -> tuple[Listed, ...]:
    if sys.platform != "darwin":
        return (Listed(NAME, None, None, NO_MAC),)
    return (Listed(NAME, MacDevice().facts(), host_condition()),)


KIND = DeviceKind(name=NAME, find=_find, listed=_listed, delegates=UNITS, delegate=UNITS[0])
