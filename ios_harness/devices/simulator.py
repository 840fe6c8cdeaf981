"""A simulator of Xcode's, booted if it is shut down. It runs Core ML on the Mac."""

from __future__ import annotations

import atexit

from ios_harness.device import OPTIONS, WAYS, IosDevice, choose, listed_row
from ios_harness.device_class import judge_row, listed_facts
from ios_harness.devicectl import find_xcrun
from ios_harness.errors import NoXcodeError
from ios_harness.transports.simulator import Simulator, SimulatorRow, rows
from ios_harness.units import CORE_ML, OF_TARGET
from runtimes.device import SIMULATOR, DeviceKind, Listed

NAME = "simulator"
_SHUT_DOWN = "it is shut down; it is booted when it is asked for"


def find(identifier: str) -> IosDevice:
    """Find the simulator of that UDID or name; if none is named, the only booted one.

    Raises:
        RequestError: no Xcode; no such simulator, several, or one that cannot be used; says why.
    """
    xcrun = find_xcrun()
    found = rows(xcrun)
    booted = [row for row in found if row.state == "Booted"]
    row = choose(
        NAME, identifier, found if identifier else booted or found, lambda r: r.identity, _problem
    )
    transport = Simulator(xcrun, row)
    atexit.register(transport.shut_down)  # for a measurement that never began
    return IosDevice(transport, _name(row), transport.shut_down)


def listed() -> tuple[Listed, ...]:
    """List every simulator of an iPhone or iPad. RequestError without Xcode."""
    xcrun = find_xcrun()
    found = []
    for row in rows(xcrun):
        name, facts = _name(row), listed_facts(row.identity, _name(row), SIMULATOR)
        if row.problem or row.state != "Booted":
            found.append(Listed(name, facts, None, row.problem or _SHUT_DOWN))
        else:
            found.append(listed_row(Simulator(xcrun, row), name, SIMULATOR))
    return tuple(found)


def clean(identifier: str) -> str:
    """Remove what was kept in the simulator for the next run; says how much it was."""
    return f"{find(identifier).clean() / 2**20:.1f} MB removed"


def knows(name: str) -> bool:
    """Tell whether there is a simulator of that UDID or name; there is none without Xcode."""
    try:
        return any(name in (row.identity.udid, row.identity.name) for row in rows(find_xcrun()))
    except NoXcodeError:
        return False


def _problem(row: SimulatorRow) -> str:
    return row.problem


def _name(row: SimulatorRow) -> str:
    return f"{NAME}:{row.identity.udid}"


KIND = DeviceKind(
    name=NAME,
    find=find,
    listed=listed,
    clean=clean,
    ways=WAYS,
    delegates=CORE_ML,  # Core AI is not in the Simulator
    delegate=CORE_ML[0],
    delegates_of=OF_TARGET,
    options=OPTIONS,
    knows=knows,
    class_of=judge_row,
)
