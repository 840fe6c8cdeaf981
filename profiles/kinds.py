"""Every kind of device: those of this machine, then those of the harnesses.

A harness is a folder `*_harness` beside this package that has a catalogue `devices`. It is imported
when a device is asked for, so reading profiles starts no adb.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from exporter import catalog
from exporter.closest import unknown
from exporter.errors import RequestError, SamExportError
from runtimes.device import (
    CPU,
    Condition,
    Device,
    DeviceFacts,
    DeviceKind,
    KindOption,
    Listed,
    Mode,
)

T = TypeVar("T")
ALIASES = {
    "phone": "android", "adb": "android", "pixel": "android", "usb": "android",
    "avd": "emulator",
    "iphone": "ios", "ipad": "ios", "apple": "ios", "devicectl": "ios", "simctl": "simulator",
    "usbmux": "pymobiledevice3", "macos": "mac",
    "cpu": "host", "localhost": "host", "local": "host", "computer": "host", "pc": "host",
}  # fmt: skip
"""What people call a kind of device."""


def catalogues() -> tuple[str, ...]:
    """Return the packages that hold kinds, the host's first."""
    top = Path(__file__).parents[1]
    found = sorted(path.parents[1].name for path in top.glob("*_harness/devices/__init__.py"))
    return ("runtimes.devices", *(f"{name}.devices" for name in found))


def kinds() -> Iterator[DeviceKind]:
    """Load every kind, the host first; a harness is imported when its turn comes."""
    for package in catalogues():
        for name in catalog.names(package):
            yield catalog.load(package, name, "KIND")


def ways() -> tuple[str, ...]:
    """For `--way`: whatever any kind has."""
    return _once(way for kind in kinds() for way in kind.ways)


def delegates() -> tuple[str, ...]:
    """For `--delegate`: whatever any kind has."""
    return _once(delegate for kind in kinds() for delegate in kind.delegates)


def each_delegate(names: Iterable[str], target: str) -> tuple[str, ...]:
    """List what computes a bundle of that target on every one of these devices, in order."""
    lists = [
        [d for d in kind.delegates_of.get(target, kind.delegates) if d in kind.delegates]
        for kind, _ in map(kind_of, names)
    ]
    return tuple(d for d in lists[0] if all(d in other for other in lists)) if lists else ()


def default_delegate(names: Iterable[str]) -> str:
    """Choose what computes if the user names nothing: what the kinds of these devices say.

    Raises:
        RequestError: they differ, so one method would not fit all; or no such device.
    """
    found = {kind_of(name)[0].delegate: name for name in names}
    if len(found) > 1:
        named = " and ".join(f"{name} ({delegate})" for delegate, name in found.items())
        raise RequestError(
            f"{named} compute with different delegates unless told: name one by --delegate that "
            "all of them have, or measure them apart"
        )
    return next(iter(found), CPU)


def modes() -> tuple[Mode, ...]:
    """Return what a device can be put into while it is measured, of any kind."""
    return _once(mode for kind in kinds() for mode in kind.modes)


def options() -> tuple[KindOption, ...]:
    """Options of the command line that some kind takes."""
    return _once(option for kind in kinds() for option in kind.options)


def kind_of(name: str) -> tuple[DeviceKind, str]:
    """`KIND`, `KIND:ID`, or the ID alone of a device that is there -> the kind and the ID.

    Raises:
        RequestError: neither; says which kinds there are, and why one could not be asked.
    """
    known = tuple(kinds())
    start, _, identifier = name.partition(":")
    for kind in known:
        if kind.name == start:
            return kind, identifier
    silent = []
    for kind in known:
        try:
            if kind.knows is not None and kind.knows(name):
                return kind, name
        except SamExportError as error:
            silent.append(f"; {kind.name}: {error}")
    stranger = unknown("device", name, (kind.name for kind in known), aliases=ALIASES)
    raise RequestError(f"{stranger}, or see `sam-bench devices`{''.join(silent)}")


def class_of(facts: DeviceFacts, condition: Condition | None) -> tuple[str, str]:
    """Judge the facts in a stored row: the class of its device by today's rules, and the reason."""
    start = facts.device.partition(":")[0]
    for kind in kinds():
        if kind.name == start and kind.class_of is not None:
            return kind.class_of(facts, condition)
    return facts.device_class, facts.class_reason


def find(name: str) -> Device:
    """Find the device called `KIND` or `KIND:ID`. RequestError says why there is none."""
    kind, identifier = kind_of(name)
    return kind.find(identifier)


def listed() -> tuple[Listed, ...]:
    """List every device of every kind seen now; one that fails is a row with its reason."""
    rows: list[Listed] = []
    for kind in kinds():
        try:
            rows += kind.listed()
        except SamExportError as error:
            rows.append(Listed(kind.name, None, None, str(error)))
    return tuple(rows)


def clean(name: str) -> str:
    """Remove what we keep on a device. RequestError if its kind keeps nothing."""
    kind, identifier = kind_of(name)
    if kind.clean is None:
        raise RequestError(f"nothing of ours is kept on {kind.name}: there is nothing to clean")
    return kind.clean(identifier)


def _once(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
