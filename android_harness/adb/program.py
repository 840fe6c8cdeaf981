"""The user's own `adb`: one process a call, each with a deadline; what it says becomes an error.

Every call is logged (logger `sam_export.adb`, level DEBUG), so that a run can be repeated by hand.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from android_harness.adb.rows import (
    AdbRow,
    listing,
    named,
    only,
    parse_rows,
    selector,
    unusable,
)
from android_harness.errors import AdbTimeoutError, NoAdbError, OfflineError, ServerVersionError
from exporter import programs
from exporter.errors import DeviceError, DeviceLostError
from exporter.printable import printable
from exporter.programs import FloodError
from runtimes.remote.errors import UnknownDeviceError, UnusableError

LOG = logging.getLogger("sam_export.adb")
VARIABLE = "SAM_EXPORT_ADB"
CHOSEN = "ANDROID_SERIAL"
"""Of adb itself: the device that is meant if none is named."""
QUICK = 20.0
"""Seconds for a call that only asks; starting the server is among them."""

_VERSION = re.compile(r"adb server version \((\d+)\) doesn't match this client \((\d+)\)")


@dataclass(frozen=True)
class AdbAnswer:
    """What a program said. `out` and `err` are text; bytes that are not UTF-8 are replaced."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The line for a message: the last that says `error:`, or the last of stderr, or of all."""
        lines = [line.strip() for line in (*self.out.splitlines(), *self.err.splitlines())]
        said = [line for line in lines if line]
        # A copy that fails ends with a line on how much it copied.
        errors = [line.removeprefix("adb: ") for line in said if re.match(r"(adb: )?error:", line)]
        return (errors or said or [f"exit status {self.code}"])[-1]


@dataclass(frozen=True)
class Adb:
    """An adb program. Its server is the environment's: ADB_SERVER_SOCKET, ANDROID_ADB_SERVER_PORT.

    Every call gets the whole environment of this process.
    """

    program: Path

    def run(self, *arguments: str, deadline: float = QUICK, data: str | None = None) -> AdbAnswer:
        """Run one call; a failure of the command itself is in the answer, not an error.

        Args:
            arguments: after `adb`.
            deadline: seconds; then the program is killed.
            data: for its standard input, which is empty otherwise: `adb shell` eats all of it.

        Raises:
            AdbTimeoutError: it took longer.
            NoAdbError: the program cannot be started.
            UnusableError: it, or the device, writes without end.
            ServerVersionError: another version's server is in the way.
        """
        start = time.perf_counter()
        command = [str(self.program), *arguments]
        try:
            # Its own session: Ctrl-C is for us, and what we do then needs adb.
            ran = programs.run(command, data or "", deadline=deadline, apart=True)
        except subprocess.TimeoutExpired as error:
            LOG.debug("%s: no answer in %g s", shlex.join(command), deadline)
            said = AdbAnswer(-1, programs.text(error.stdout), programs.text(error.stderr))
            said_last = f"; it said: {said.last}" if said.out or said.err else ""
            raise AdbTimeoutError(
                f"adb {_short(arguments)} did not end in {deadline:g} s{said_last}"
            ) from None
        except OSError as error:
            raise NoAdbError(f"{self.program} cannot be started: {error.strerror}") from None
        except FloodError:
            raise UnusableError(
                f"`{printable(str(self.program))} {_short(arguments)}` writes without end, so it "
                "was ended: neither a usable device nor an adb does that"
            ) from None
        answer = AdbAnswer(ran.code, ran.out, ran.err)
        took = time.perf_counter() - start
        LOG.debug("%s -> %d in %.3f s", shlex.join(command), answer.code, took)
        if answer.code:
            LOG.debug("  said: %s", (answer.err + answer.out).strip())
        self._check_server(answer)
        return answer

    def rows(self) -> tuple[AdbRow, ...]:
        """List every device that adb knows, usable or not."""
        answer = self.run("devices", "-l")
        if answer.code:
            raise DeviceError(f"adb devices failed: {answer.last}")
        return parse_rows(answer.out)

    def choose(self, serial: str) -> AdbRow:
        """Choose the device called `serial`; if that is empty, ANDROID_SERIAL's, or the only one.

        A name is what `adb -s` takes - a serial, `usb:PORT`, `model:NAME`, an address without its
        port - or `transport_id:NUMBER`. A network device that adb does not know is connected; one
        that is offline, as after its restart, is disconnected and connected once: a second
        `connect` alone changes nothing.

        Raises:
            UnusableError: there is none, several, or it cannot be used; says why and what to do.
        """
        rows = self.rows()
        name = serial or os.environ.get(CHOSEN, "")
        if not name:
            return only(rows)
        row = named(rows, name) or AdbRow(name, "unknown")
        if row.state in ("unknown", "offline") and row.over_network:
            row = self.connect(row.serial)
        elif row.state == "unknown":
            source = "" if serial else f", the one that {CHOSEN} names,"
            raise UnknownDeviceError(
                f"no device '{printable(name)}'{source} is attached; {listing(rows)}"
            )
        if row.problem:
            raise unusable(row)
        return row

    def connect(self, address: str) -> AdbRow:
        """Reach HOST:PORT. `adb connect` exits with 0 whatever happens, so its text is read.

        Raises:
            UnusableError: it cannot be reached, or has not allowed this computer.
        """
        said = self.run("connect", address)
        state = self.state(address)
        if state not in ("device", "unauthorized") and "already connected" in said.out:
            # To what is gone, as after a restart: only a new connection finds the device again.
            self.run("disconnect", address)
            said = self.run("connect", address)
            state = self.state(address)
        if state == "device":
            return AdbRow(address, state)
        if state == "unauthorized" or "authenticate" in said.out + said.err:
            raise unusable(AdbRow(address, "unauthorized"))
        raise OfflineError(
            f"{address} cannot be reached ({said.last}): check its address, and that wireless "
            "debugging is on"
        )

    def state(self, name: str) -> str:
        """`device`, `offline`, `unauthorized` ..., or empty if adb does not know it."""
        try:
            answer = self.run(*selector(name), "get-state", deadline=5)
        except AdbTimeoutError:
            return "offline"
        said = answer.err.lower()
        for word in ("unauthorized", "offline", "authorizing"):
            if word in said:
                return word
        return answer.out.strip() if answer.code == 0 else ""

    def _check_server(self, answer: AdbAnswer) -> None:
        found = _VERSION.search(answer.err + answer.out)
        if found is None:
            return
        ours = f"{self.program} (version {found[2]})"
        if answer.code:
            raise ServerVersionError(
                f"an adb server of version {found[1]} runs here, and {ours} cannot take its place: "
                f"set {VARIABLE} to the adb that started it, or stop it with its own `kill-server`"
            )
        LOG.warning(
            "the adb server of version %s was replaced by version %s: if another program (Android "
            "Studio?) starts its own again, devices come and go; set %s to that program's adb",
            found[1],
            ours,
            VARIABLE,
        )


def use_adb(program: str) -> None:
    """From here on, this is the adb of this process and of all that it starts."""
    os.environ[VARIABLE] = program


def find_adb(given: str | None = None) -> Adb:
    """Find the adb to use: `given`, $SAM_EXPORT_ADB, the SDK's, the one on PATH, or adbutils' own.

    Raises:
        NoAdbError: there is none, or the one that was asked for is not a program.
    """
    asked = given or os.environ.get(VARIABLE)
    if asked:
        found = shutil.which(asked)
        if found is None:
            raise NoAdbError(f"{asked} is not a program: give the adb itself, or leave it out")
        return Adb(Path(found).absolute())  # `./adb` loses its dot as a Path
    for path in (*_sdk("platform-tools/adb"), shutil.which("adb"), _bundled()):
        if path and (program := shutil.which(path)):
            return Adb(Path(program))
    raise NoAdbError(
        "no adb here: install Android's platform-tools, `pip install 'sam-export[adb]'`, or set "
        f"{VARIABLE}"
    )


def _sdk(name: str) -> list[str]:
    """Find a file of the Android SDK, wherever the environment says that one is."""
    roots = [os.environ.get(variable) for variable in ("ANDROID_HOME", "ANDROID_SDK_ROOT")]
    return [str(Path(root) / name) for root in roots if root]


def _bundled() -> str | None:
    """Find the adb inside the package adbutils, if its wheel has one; nothing is imported."""
    spec = importlib.util.find_spec("adbutils")
    if spec is None or spec.origin is None:
        return None
    return str(Path(spec.origin).parent / "binaries" / "adb")


def failure(
    serial: str, arguments: tuple[str, ...], answer: AdbAnswer, *, gone: bool = False
) -> DeviceError:
    """Make the error for a failed call of adb itself (not of a command on the device).

    Args:
        serial: of the device.
        arguments: after `adb`.
        answer: what adb said.
        gone: the device is known to be away, whatever was said.
    """
    what = f"`adb {_short(arguments)}`"
    said = r"not found|offline|closed|no devices|reset|protocol fault|daemon"
    if gone or re.search(said, answer.err):
        return DeviceLostError(
            f"{serial} went away during {what} ({answer.last}): check its cable, then start again"
        )
    return DeviceError(f"{what} failed on {serial}: {answer.last}")


def _short(arguments: tuple[str, ...], most: int = 60) -> str:
    """Show the call for a message: without the device, on one line."""
    kept = arguments[2:] if arguments[:1] in (("-s",), ("-t",)) else arguments
    line = " ".join(" ".join(kept).split())
    return line if len(line) <= most else f"{line[:most]}..."
