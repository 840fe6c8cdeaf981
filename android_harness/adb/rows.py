"""The devices that `adb devices -l` tells of, how to name each, and why one cannot be used."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from android_harness.errors import OfflineError, UnauthorizedError
from exporter.printable import printable
from runtimes.remote.errors import AmbiguousError, UnknownDeviceError, UnusableError

_HEAD = "List of devices attached"
_STATES = (
    "device|offline|unauthorized|authorizing|connecting|bootloader|recovery|rescue|sideload|host"
    "|detached|no permissions.*?|unknown"
)
_PAIR = r"[a-z_]+:"
# A serial may hold spaces, and so may a product's name: the state is the first that only pairs
# follow.
_ROW = re.compile(rf"(?P<serial>.+?)\s+(?P<state>{_STATES})(?P<rest>\s+{_PAIR}.*)?")
# Of an adb newer than this list of states.
_OTHER = re.compile(rf"(?P<serial>\S+)\s+(?P<state>.+?)(?P<rest>\s+{_PAIR}.*transport_id:\d+)")
_PAIRS = re.compile(rf"({_PAIR})(.*?)(?=\s+{_PAIR}|\s*$)")
_NAMELESS = re.compile(r"\(no serial number\)|\?+")
_PARTS_OF_A_ROW = ("usb", "product", "model", "device", "transport_id")
_TRANSPORT = "transport_id:"
_PORT = 5555
_ADVICE = {
    "unauthorized": "unlock its screen and allow USB debugging for this computer",
    "authorizing": "unlock its screen and allow USB debugging for this computer",
    "offline": "plug it in again, or turn its wireless debugging off and on, or run "
    "`adb reconnect offline`",
    "connecting": "wait a moment and try again",
    "no permissions": "this user may not open the USB device: see Android's udev rules (Debian and "
    "Ubuntu: install android-sdk-platform-tools-common), then plug it in again",
    "recovery": "start Android on it: choose `Reboot system now` there, or run `adb {at} reboot`",
    "rescue": "start Android on it: choose `Reboot system now` there, or run `adb {at} reboot`",
    "sideload": "it waits for `adb sideload`: cancel that on its screen, and start Android",
    "bootloader": "start Android on it: run `fastboot reboot`",
    "detached": "another program took it from adb: run `adb {at} attach`",
    "host": "it is a computer and no Android device: choose another",
}


@dataclass(frozen=True)
class AdbRow:
    """A line of `adb devices -l`.

    Attributes:
        serial: as adb prints it; it may hold spaces, and cheap devices share one.
        shared: whether another line has the same serial.
    """

    serial: str
    state: str
    details: dict[str, str] = field(default_factory=dict)
    shared: bool = False

    @property
    def name(self) -> str:
        """What names this device alone: its serial, or its USB port, or adb's number for it."""
        if self.serial and not self.shared and not _NAMELESS.fullmatch(self.serial):
            return self.serial
        for key in ("usb", "transport_id"):
            if key in self.details:
                return f"{key}:{self.details[key]}"
        return self.serial

    @property
    def problem(self) -> str:
        """Why the device cannot be used, and what to do; empty if it can."""
        if self.state == "device":
            return ""
        word = next((word for word in _ADVICE if self.state.startswith(word)), "")
        at = " ".join(map(shlex.quote, selector(printable(self.name))))
        advice = _ADVICE.get(word, "start Android on it").format(at=at)
        return f"{word or printable(self.state)}: {advice}"

    @property
    def over_network(self) -> bool:
        """Whether it is reached by `adb connect HOST:PORT`; adb itself finds what it names."""
        if self.serial.startswith(tuple(f"{key}:" for key in _PARTS_OF_A_ROW)):
            return False
        return re.fullmatch(r".+:\d+", self.serial) is not None

    def answers_to(self, name: str) -> bool:
        """Tell whether `adb -s NAME` means it: by part of its line, or an address without port."""
        key, _, value = name.partition(":")
        if key in _PARTS_OF_A_ROW and key in self.details:
            return _plain(self.details[key]) == _plain(value)
        address = name.removeprefix("tcp:")
        return self.serial in (address, f"{address}:{_PORT}") or (
            self.serial.rstrip(".") == name.rstrip(".") != ""
        )


def _plain(value: str) -> str:
    """As adb prints a model: `Pixel 8` is `Pixel_8`."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", value)


def selector(name: str) -> tuple[str, str]:
    """Make the options of adb that choose the device of this name."""
    if name.startswith(_TRANSPORT):
        return "-t", name.removeprefix(_TRANSPORT)
    return "-s", name


def parse_rows(text: str) -> tuple[AdbRow, ...]:
    """Parse the devices in the output of `adb devices -l`."""
    _, head, listed = text.partition(_HEAD)
    found = [_row(line.strip()) for line in (listed if head else text).splitlines()]
    rows = [row for row in found if row is not None]
    times = Counter(row.serial for row in rows)
    return tuple(replace(row, shared=times[row.serial] > 1) for row in rows)


def _row(line: str) -> AdbRow | None:
    match = None if line.startswith("* ") else _ROW.fullmatch(line) or _OTHER.fullmatch(line)
    if match is None:
        return None
    details = {key.rstrip(":"): value for key, value in _PAIRS.findall(match["rest"] or "")}
    return AdbRow(match["serial"], match["state"], details)


def unusable(row: AdbRow) -> UnusableError:
    """Make the error that says why a device cannot be used."""
    kinds = {"unauthorized": UnauthorizedError, "authorizing": UnauthorizedError}
    kind = kinds.get(row.state, OfflineError if row.state == "offline" else UnusableError)
    return kind(f"device {printable(row.name)} is {row.problem}")


def only(rows: Sequence[AdbRow]) -> AdbRow:
    """Choose the one that can be used. UnusableError if there is none, or several."""
    if not rows:
        raise UnknownDeviceError("no device is attached: plug one in and allow USB debugging")
    row = _one(rows, rows)
    if row.problem:
        raise unusable(row)
    return row


def named(rows: Sequence[AdbRow], name: str) -> AdbRow | None:
    """Find the one that adb means by `name`; None if none fits. AmbiguousError if several do."""
    ways: tuple[Callable[[AdbRow], bool], ...] = (
        lambda row: row.name == name,
        lambda row: row.serial == name,
        lambda row: row.answers_to(name),
    )
    for fits in ways:
        found = [row for row in rows if fits(row)]
        if found:
            return _one(found, rows)
    return None


def _one(found: Sequence[AdbRow], rows: Sequence[AdbRow]) -> AdbRow:
    """Choose the only usable one, or the first unusable. AmbiguousError among several."""
    ready = [row for row in found if not row.problem]
    if len(ready) > 1:
        raise AmbiguousError(f"several devices are attached; {listing(rows)}")
    return ready[0] if ready else found[0]


def listing(rows: Sequence[AdbRow]) -> str:
    """List the devices there are, for a message."""
    shown = [
        f"android:{printable(row.name)} "
        f"({printable(row.state if row.problem else row.details.get('model') or row.state)})"
        for row in rows
    ]
    return f"choose from {', '.join(shown)}" if shown else "none is"
