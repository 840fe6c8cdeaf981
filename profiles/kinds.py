"""Every kind of device there is: those of this machine and those of the harnesses.

A harness is looked for by name and imported when a device is asked for, so reading profiles starts
no adb, and a harness that is not installed is no error.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator

from exporter.errors import RequestError, SamExportError
from runtimes.device import Device, DeviceKind, Listed

CATALOGUES = ("runtimes.devices", "android_harness.devices")


def kinds() -> Iterator[DeviceKind]:
    """Every kind, the host first; a harness is imported when its turn comes."""
    for name in CATALOGUES:
        if _exists(name):
            yield from importlib.import_module(name).kinds()


def kind_of(name: str) -> tuple[DeviceKind, str]:
    """`KIND` or `KIND:ID` -> the kind and the ID. RequestError with the list of kinds."""
    start, _, identifier = name.partition(":")
    known = []
    for kind in kinds():
        if kind.name == start:
            return kind, identifier
        known.append(kind.name)
    raise RequestError(f"no device is called {name!r}; there are the kinds: {', '.join(known)}")


def use_adb(program: str) -> None:
    """From here on, this is the adb of this process and of all that it starts."""
    os.environ[importlib.import_module("android_harness.adb.program").VARIABLE] = program


def find(name: str) -> Device:
    """The device called `KIND` or `KIND:ID`. RequestError says why there is none."""
    kind, identifier = kind_of(name)
    return kind.find(identifier)


def listed() -> tuple[Listed, ...]:
    """Every device of every kind that can be seen now. One that fails is a row with its reason."""
    rows: list[Listed] = []
    for kind in kinds():
        try:
            rows += kind.listed()
        except SamExportError as error:
            rows.append(Listed(kind.name, None, None, str(error)))
    return tuple(rows)


def clean(name: str) -> str:
    """Remove what we keep on a device. RequestError where its kind keeps nothing."""
    kind, identifier = kind_of(name)
    if kind.clean is None:
        raise RequestError(f"nothing of ours is kept on {kind.name}: there is nothing to clean")
    return kind.clean(identifier)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
