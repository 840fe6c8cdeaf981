"""The devices that `adb devices -l` tells of, and why one cannot be used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from android_harness.errors import (
    AmbiguousError,
    OfflineError,
    UnauthorizedError,
    UnknownDeviceError,
    UnusableError,
)

_STATES = (
    "device|offline|unauthorized|authorizing|connecting|bootloader|recovery|rescue|sideload|host"
    "|no permissions.*?|unknown"
)
_ROW = re.compile(rf"(?P<serial>\S+)\s+(?P<state>{_STATES})(?P<rest>(?:\s+[a-z_]+:\S+)*)\s*")
_ADVICE = {
    "unauthorized": "unlock its screen and allow USB debugging for this computer",
    "authorizing": "unlock its screen and allow USB debugging for this computer",
    "offline": "plug it in again, or run `adb reconnect offline`",
    "connecting": "wait a moment and try again",
    "no permissions": "this user may not open the USB device: see Android's udev rules",
}


@dataclass(frozen=True)
class AdbRow:
    """A line of `adb devices -l`."""

    serial: str
    state: str
    details: dict[str, str] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        """Why the device cannot be used, and what to do; empty if it can."""
        if self.state == "device":
            return ""
        word = next((word for word in _ADVICE if self.state.startswith(word)), "")
        return f"{word or self.state}: {_ADVICE.get(word, 'start Android on it')}"

    @property
    def over_network(self) -> bool:
        """Whether it is reached by `adb connect HOST:PORT`."""
        return re.fullmatch(r".+:\d+", self.serial) is not None


def parse_rows(text: str) -> tuple[AdbRow, ...]:
    """The devices in the output of `adb devices -l`."""
    rows = []
    for line in text.splitlines():
        match = None if line.startswith(("*", "List of", "adb ")) else _ROW.fullmatch(line.strip())
        if match is not None:
            details = dict(pair.split(":", 1) for pair in match["rest"].split())
            rows.append(AdbRow(match["serial"], match["state"], details))
    return tuple(rows)


def unusable(row: AdbRow) -> UnusableError:
    """The error that says why a device cannot be used."""
    kinds = {"unauthorized": UnauthorizedError, "authorizing": UnauthorizedError}
    kind = kinds.get(row.state, OfflineError if row.state == "offline" else UnusableError)
    return kind(f"device {row.serial} is {row.problem}")


def only(rows: tuple[AdbRow, ...]) -> AdbRow:
    """The one that can be used. UnusableError if there is none, or several."""
    ready = [row for row in rows if not row.problem]
    if len(ready) == 1:
        return ready[0]
    if len(ready) > 1:
        raise AmbiguousError(f"several devices are attached; {listing(rows)}")
    if rows:
        raise unusable(rows[0])
    raise UnknownDeviceError("no device is attached: plug one in and allow USB debugging")


def listing(rows: tuple[AdbRow, ...]) -> str:
    """The devices there are, for a message."""
    shown = [
        f"android:{row.serial} ({row.details.get('model') or row.state})"
        if not row.problem
        else f"android:{row.serial} ({row.state})"
        for row in rows
    ]
    return f"choose from {', '.join(shown)}" if shown else "none is"
