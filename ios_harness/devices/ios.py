"""A phone or tablet from a Mac: Xcode's `devicectl`, by cable or Wi-Fi.

Our runner measures on it, or coremltools' own (`--way coremltools`), which is taken if ours is not
on the phone and was not given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace

from exporter.errors import RequestError, SamExportError
from ios_harness import xcdevice
from ios_harness.device import (
    OPTIONS,
    WAYS,
    IosDevice,
    check_method,
    choose,
    listed_row,
)
from ios_harness.device_class import judge, judge_row, listed_facts
from ios_harness.devicectl import Row, find_xcrun, problem_of, rows
from ios_harness.errors import NoRunnerError, NoXcodeError
from ios_harness.modelrunner_bench import TEAM, ModelRunnerBench, missing, use_team
from ios_harness.modelrunner_bench import WAY as COREMLTOOLS
from ios_harness.program import Program
from ios_harness.transports import NO_RUNNER, Identity, runner_app
from ios_harness.transports.coredevice import CoreDevice
from ios_harness.units import EVERY, OF_TARGET
from runtimes.device import AUTO, PHONE, Bench, DeviceFacts, DeviceKind, KindOption, Listed, Method
from runtimes.remote.lock import locked

NAME = "ios"
TEAM_OPTION = KindOption(
    "team",
    "TEAM",
    "the Apple development team that signs coremltools' runner, for --way coremltools "
    f"(default: ${TEAM})",
    use_team,
)


class Phone(IosDevice):
    """A phone that our runner or coremltools' measures on. See `Device`."""

    def facts(self) -> DeviceFacts:
        """Read what our runner tells; what the listing tells if coremltools' is to measure."""
        if self._has_coremltools_alone():
            return self._listed()
        try:
            return super().facts()
        except NoRunnerError as error:
            raise NoRunnerError(
                f"{error}; --way {COREMLTOOLS} does without it, but {missing()}"
            ) from None

    def open(self, method: Method) -> AbstractContextManager[Bench]:
        """See `Device`. RequestError if coremltools' runner is asked for and cannot be used."""
        if method.way == COREMLTOOLS:
            problem = missing()
            if problem:
                raise RequestError(f"--way {COREMLTOOLS}: {problem}")
            return self._by_coremltools(method)
        if method.way == AUTO and self._has_coremltools_alone():
            return self._by_coremltools(method)
        return super().open(method)

    def _has_coremltools_alone(self) -> bool:
        """Tell whether our runner is not there, and coremltools' can be."""
        if runner_app() is not None or missing():
            return False
        self.transport.demand_ready()
        return not self.transport.is_installed()

    def _listed(self) -> DeviceFacts:
        identity = self.transport.identity
        evidence = {"kind": "device", "model": identity.model, "system": identity.system}
        found, reason = judge(evidence)
        facts = listed_facts(identity, self.name, found)
        return replace(facts, evidence=evidence, class_reason=reason)

    @contextmanager
    def _by_coremltools(self, method: Method) -> Iterator[Bench]:
        check_method(replace(method, way=AUTO))
        with locked(self.transport.identity.udid):
            wake = self.transport.demand_ready
            yield ModelRunnerBench(self.transport.identity.udid, self._listed(), method, wake)


def find(identifier: str) -> IosDevice:
    """Find the phone of that UDID or name, or the only one.

    Raises:
        RequestError: no Xcode; no such device, several, or one that cannot be used; says why.
    """
    xcrun = find_xcrun()
    try:
        row = choose(NAME, identifier, rows(xcrun), lambda r: r.identity, problem_of)
    except RequestError:
        for old, problem in _old_phones(xcrun):
            if identifier in ("", old.udid, old.name):
                raise RequestError(f"{NAME}:{old.udid}: {problem}") from None
        raise
    return Phone(CoreDevice(xcrun, row), _name(row))


def listed() -> tuple[Listed, ...]:
    """List every phone that this Mac knows. RequestError without Xcode."""
    xcrun = find_xcrun()
    found = [_listed(xcrun, row) for row in rows(xcrun)]
    for old, problem in _old_phones(xcrun):
        name = f"{NAME}:{old.udid}"
        found.append(Listed(name, listed_facts(old, name, PHONE), None, problem))
    return tuple(found)


def clean(identifier: str) -> str:
    """Remove what was kept on the device for the next run; says how much it was."""
    return f"{find(identifier).clean() / 2**20:.1f} MB removed"


def knows(name: str) -> bool:
    """Tell whether devicectl lists a device of that UDID or name; it does not without Xcode."""
    try:
        return any(name in (row.identity.udid, row.identity.name) for row in rows(find_xcrun()))
    except NoXcodeError:
        return False


def _listed(xcrun: Program, row: Row) -> Listed:
    problem = problem_of(row)
    if problem:
        return Listed(_name(row), listed_facts(row.identity, _name(row), PHONE), None, problem)
    found = listed_row(CoreDevice(xcrun, row), _name(row), PHONE)
    # coremltools' runner, which can be had, does as well.
    return replace(found, problem="") if found.problem == NO_RUNNER and not missing() else found


def _old_phones(xcrun: Program) -> tuple[tuple[Identity, str], ...]:
    """Phones that devicectl does not list; none if xcdevice cannot be asked."""
    with suppress(SamExportError):
        return xcdevice.old_phones(xcrun)
    return ()


def _name(row: Row) -> str:
    return f"{NAME}:{row.identity.udid}"


KIND = DeviceKind(
    name=NAME,
    find=find,
    listed=listed,
    clean=clean,
    ways=(*WAYS, COREMLTOOLS),
    delegates=EVERY,
    delegate=EVERY[0],
    delegates_of=OF_TARGET,
    options=(*OPTIONS, TEAM_OPTION),
    knows=knows,
    class_of=judge_row,
)
