"""A phone or tablet from a Mac: Xcode's `devicectl`, by cable or Wi-Fi."""

from __future__ import annotations

from contextlib import suppress

from exporter.errors import RequestError, SamExportError
from ios_harness import xcdevice
from ios_harness.device import OPTIONS, UNITS, WAYS, IosDevice, choose, listed_row
from ios_harness.device_class import judge_row, listed_facts
from ios_harness.devicectl import Row, find_xcrun, problem_of, rows
from ios_harness.errors import NoXcodeError
from ios_harness.program import Program
from ios_harness.transports import Identity
from ios_harness.transports.coredevice import CoreDevice
from runtimes.device import PHONE, DeviceKind, Listed

NAME = "ios"


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
    return IosDevice(CoreDevice(xcrun, row), _name(row))


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
    return listed_row(CoreDevice(xcrun, row), _name(row), PHONE)


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
    ways=WAYS,
    delegates=UNITS,
    delegate=UNITS[0],
    options=OPTIONS,
    knows=knows,
    class_of=judge_row,
)
