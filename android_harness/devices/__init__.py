"""The kinds of Android device.

How to add one: write `android_harness/devices/NAME.py` with `KIND`, a `runtimes.device.DeviceKind`
whose name is the file's. `--device NAME:ID` and `sam-bench devices` find it; nothing else changes.
"""

from __future__ import annotations

from exporter import catalog
from exporter.errors import SamExportError
from runtimes.device import DeviceKind, Listed


def kinds() -> tuple[DeviceKind, ...]:
    """Every kind, in the order of their names."""
    return tuple(catalog.load(__name__, name, "KIND") for name in catalog.names(__name__))


def listed() -> tuple[Listed, ...]:
    """Every device that can be seen now, with what keeps one from being used.

    A kind that cannot look at all (no adb here) is a row too, so that the others are still shown.
    """
    rows: list[Listed] = []
    for kind in kinds():
        try:
            rows += kind.listed()
        except SamExportError as error:
            rows.append(Listed(f"{kind.name}:", None, None, str(error)))
    return tuple(rows)
