"""A phone by cable from Linux, Windows or a Mac: `pymobiledevice3`, run as a program.

It is GPL, so it is never imported. What it prints on stdout is JSON or one line; its errors are the
sentences of its own exceptions on stderr.
"""

from __future__ import annotations

import re
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import DeviceError, DeviceLostError, SamExportError
from exporter.programs import Said
from ios_harness import crashes
from ios_harness.devicectl import DEVELOPER, LOCKED, UNPAIRED, UNTRUSTED
from ios_harness.errors import (
    DeveloperModeError,
    HangError,
    InstallError,
    LockedError,
    NoDiskImageError,
    NoProgramError,
    NoRunnerError,
    ToolError,
    ToolTimeoutError,
    UnpairedError,
    UntrustedError,
)
from ios_harness.program import (
    QUICK,
    Program,
    find_program,
    last_line,
    plain,
    read_json,
    short,
    text_at,
)
from ios_harness.transports import (
    GRACE,
    INSTALL_SECONDS,
    NO_RUNNER,
    PULL_RATE,
    PUSH_RATE,
    Identity,
    runner_id,
    seconds_for,
)
from runtimes.remote.errors import NoSpaceError

PROGRAM = "pymobiledevice3"
NO_IMAGE = "its developer disk image is not mounted: `pymobiledevice3 mounter auto-mount`"
FULL = "it is full: free some space on it"
POLL = 1.0
"""Seconds between two looks whether the runner has answered; `dvt launch` does not wait."""
_ERRORS: tuple[tuple[str, type[SamExportError], str], ...] = (
    (r"Developer ?Mode is (disabled|not enabled)", DeveloperModeError, DEVELOPER),
    (r"not paired|does not trust|pairing record", UnpairedError, UNPAIRED),
    (r"password protected|passcode|\b(un)?locked\b|Locked", LockedError, LOCKED),
    (r"explicitly trusted|reason: Security", UntrustedError, UNTRUSTED),
    (r"DeveloperDiskImage|InvalidService|not mounted", NoDiskImageError, NO_IMAGE),
    (r"not installed|ApplicationLookupFailed|InstallationLookupFailed", NoRunnerError, NO_RUNNER),
    (r"(enough|insufficient) (disk )?(space|storage)|No space left", NoSpaceError, FULL),
)
"""What a sentence of an exception says -> our error and what to do."""
_LOST = re.compile(
    r"Device is not connected|terminated abruptly|No device|Failed to connect|not found.*usbmux"
    r"|Connection reset|Broken pipe"
)
_PID = re.compile(r"^Process launched with pid (\d+)", re.MULTILINE)


def find_pymobiledevice3() -> Program:
    """Find the program. NoProgramError without it."""
    found = find_program(PROGRAM)
    if found is None:
        raise NoProgramError(
            f"no {PROGRAM} here: `pipx install {PROGRAM}` (GPL, so it is run, never imported)"
        )
    return Program((str(found), "--no-color"))


def rows(program: Program) -> tuple[Identity, ...]:
    """List the phones and tablets on a cable or in the Wi-Fi. ToolError if it fails."""
    said = program.run("usbmux", "list")
    if said.code:
        raise error_of(said, "usbmux list")
    data = read_json(said.out, "pymobiledevice3 usbmux list")
    found: dict[str, Identity] = {}
    for row in data if isinstance(data, list) else []:
        udid = text_at(row, "UniqueDeviceID") or text_at(row, "Identifier")
        version = text_at(row, "ProductVersion")
        if udid and text_at(row, "DeviceClass") in ("iPhone", "iPad", "iPod", ""):
            found[udid] = Identity(
                udid=udid,
                name=text_at(row, "DeviceName"),
                model=text_at(row, "ProductType"),
                system=f"iOS {version}" if version else "",
                build=text_at(row, "BuildVersion"),
            )
    return tuple(found.values())


def error_of(said: Said, what: str) -> SamExportError:
    """Make our error of the program's."""
    told = plain(said)
    for pattern, kind, advice in _ERRORS:
        if re.search(pattern, told):
            return kind(advice)
    if _LOST.search(told):
        return DeviceLostError(
            f"the device went away during `{what}` ({last_line(said)}): check its cable, then "
            "start again"
        )
    return ToolError(f"`{PROGRAM} {what}` failed: {last_line(said) or 'it is silent'}")


@dataclass
class Usbmux:
    """A phone on pymobiledevice3. See `Transport`."""

    program: Program
    identity: Identity
    bundle: str = field(default_factory=runner_id)
    _pid: str = ""
    _before: frozenset[str] = frozenset()

    def demand_ready(self) -> None:
        """Ask for developer mode and the disk image; a lock is told by the launch itself."""
        if self._ask("amfi", "developer-mode-status").strip() != "true":
            raise DeveloperModeError(f"{DEVELOPER} (or `{PROGRAM} amfi enable-developer-mode`)")
        images = read_json(self._ask("mounter", "list"), "pymobiledevice3 mounter list")
        if not images:
            raise NoDiskImageError(NO_IMAGE)

    def is_installed(self) -> bool:
        """See `Transport`."""
        found = read_json(self._ask("apps", "query", self.bundle), "pymobiledevice3 apps query")
        return isinstance(found, dict) and self.bundle in found

    def install(self, app: Path) -> None:
        """See `Transport`."""
        try:
            self._ask("apps", "install", str(app), deadline=INSTALL_SECONDS)
        except (ToolError, UntrustedError) as error:
            raise InstallError(
                f"the device refused the runner ({error}): sign it with a team that has "
                "this device (ios_harness/README.md)"
            ) from None

    def push(self, local: Path, remote: str) -> None:
        """See `Transport`."""
        seconds = seconds_for(local.stat().st_size, PUSH_RATE)
        where = (self.bundle, str(local), f"Documents/{remote}")
        self._ask("apps", "push", *where, deadline=seconds)

    def pull(self, remote: str, local: Path, size: int = 0) -> bool:
        """See `Transport`."""
        words = ("apps", "pull", self.bundle, f"Documents/{remote}", str(local))
        said = self._run(*words, deadline=seconds_for(size, PULL_RATE))
        if said.code and re.search(r"OBJECT_NOT_FOUND|does not exist|[Nn]o such file", plain(said)):
            local.unlink(missing_ok=True)
            return False
        if said.code:
            raise error_of(said, short(words))
        return local.is_file()

    def launch(self, words: tuple[str, ...], deadline: float) -> None:
        """Start the app, then look for its answer: its last word is the name of the request."""
        self._before = self._log_names()
        line = " ".join((self.bundle, *words))
        said = self._ask("developer", "dvt", "launch", line)
        found = _PID.search(said)
        self._pid = found[1] if found else ""
        end = time.monotonic() + deadline + GRACE
        while not self._ended(words):
            if time.monotonic() >= end:
                self.stop()
                raise HangError(
                    f"the runner did not answer in {deadline + GRACE:g} s, "
                    "nor did its own watchdog end it; it was ended: restart the device"
                )
            time.sleep(POLL)

    def stop(self) -> None:
        """See `Transport`."""
        if self._pid:
            self._run("developer", "dvt", "kill", self._pid)
            self._pid = ""

    def crash_logs(self, folder: Path) -> list[Path]:
        """See `Transport`."""
        found = []
        for name in sorted(self._log_names() - self._before):
            with suppress(DeviceError):
                self._ask("crash", "pull", str(folder), f"/{name}")
                found.append(folder / name)
        return [path for path in found if path.is_file()]

    def _ended(self, words: tuple[str, ...]) -> bool:
        """Tell whether an answer is there, or nobody who could give one."""
        with tempfile.TemporaryDirectory(prefix="sam-export-") as folder:
            if self.pull(f"answers/{words[1]}.done", Path(folder) / "done"):
                return True
        said = self._run("developer", "dvt", "process-id-for-bundle-id", self.bundle)
        return said.code == 0 and said.out.strip() in ("", "0")

    def _log_names(self) -> frozenset[str]:
        lines = self._ask("crash", "ls").splitlines()
        return frozenset(
            n for n in (line.rpartition("/")[2] for line in lines) if crashes.is_ours(n)
        )

    def _ask(self, *words: str, deadline: float = QUICK) -> str:
        said = self._run(*words, deadline=deadline)
        if said.code:
            raise error_of(said, short(words))
        return said.out

    def _run(self, *words: str, deadline: float = QUICK) -> Said:
        try:
            return self.program.run(*words, "--udid", self.identity.udid, deadline=deadline)
        except ToolTimeoutError as error:
            raise DeviceLostError(
                f"the device does not answer ({error}): check its cable and its lock"
            ) from None
