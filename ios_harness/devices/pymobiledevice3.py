"""A phone or tablet on a cable, from Linux, Windows or a Mac: the program `pymobiledevice3`."""

from __future__ import annotations

from ios_harness.device import OPTIONS, WAYS, IosDevice, choose, listed_row
from ios_harness.device_class import judge_row
from ios_harness.errors import NoProgramError
from ios_harness.transports import Identity
from ios_harness.transports.usbmux import Usbmux, find_pymobiledevice3, rows
from ios_harness.units import EVERY, OF_TARGET
from runtimes.device import PHONE, DeviceKind, Listed

NAME = "pymobiledevice3"


def find(identifier: str) -> IosDevice:
    """Find the phone of that UDID or name, or the only one.

    Raises:
        RequestError: no pymobiledevice3; no such device, several, or one that cannot be used.
    """
    program = find_pymobiledevice3()
    identity = choose(NAME, identifier, rows(program), _itself, _no_problem)
    return IosDevice(Usbmux(program, identity), f"{NAME}:{identity.udid}")


def listed() -> tuple[Listed, ...]:
    """List every phone that usbmuxd knows. RequestError without the program."""
    program = find_pymobiledevice3()
    return tuple(
        listed_row(Usbmux(program, identity), f"{NAME}:{identity.udid}", PHONE)
        for identity in rows(program)
    )


def clean(identifier: str) -> str:
    """Remove what was kept on the device for the next run; says how much it was."""
    return f"{find(identifier).clean() / 2**20:.1f} MB removed"


def knows(name: str) -> bool:
    """Tell whether usbmuxd lists a device of that UDID or name; it does not without the program."""
    try:
        return any(name in (row.udid, row.name) for row in rows(find_pymobiledevice3()))
    except NoProgramError:
        return False


def _itself(identity: Identity) -> Identity:
    return identity


def _no_problem(identity: Identity) -> str:
    del identity
    return ""


KIND = DeviceKind(
    name=NAME,
    find=find,
    listed=listed,
    clean=clean,
    ways=WAYS,
    delegates=EVERY,
    delegate=EVERY[0],
    delegates_of=OF_TARGET,
    options=OPTIONS,
    knows=knows,
    class_of=judge_row,
)
