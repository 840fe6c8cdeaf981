"""How files and calls reach the runner on a device: one file a tool.

How to add one: write `ios_harness/transports/NAME.py` with a class that is a `Transport`, and a
file in `ios_harness/devices/` that finds its devices.
"""

from __future__ import annotations

import os
import plistlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from exporter.errors import RequestError

RUNNER_ID, RUNNER = "SAM_EXPORT_IOS_RUNNER_ID", "SAM_EXPORT_IOS_RUNNER"
"""Environment variables: the runner's bundle identifier; a signed .app or .ipa to install."""
DEFAULT_ID = "org.samexport.runner"
EXECUTABLE = "SamRunner"
"""The app's name; crash logs begin with it."""
NO_RUNNER = (
    "the runner is not installed: build and sign it (ios_harness/README.md, `xcodebuild ...`) and "
    "give it by --runner FILE"
)
INSTALL_SECONDS = 300.0
GRACE = 60.0
"""Seconds beyond the runner's own watchdog that a launch may take."""
PULL_RATE, PUSH_RATE = 2 * 2**20, 1 * 2**20
"""Bytes a second that a copy makes at the least, over Wi-Fi too."""


@dataclass(frozen=True)
class Identity:
    """What a listing says of a device.

    Attributes:
        name: its owner's for it.
        model: `iPhone 14 Pro`, or Apple's identifier `iPhone15,3`.
        system: name and version: `iOS 26.5`.
    """

    udid: str
    name: str = ""
    model: str = ""
    system: str = ""
    build: str = ""
    abi: str = ""


class Transport(Protocol):
    """A device with the runner on it, or soon so."""

    @property
    def identity(self) -> Identity:
        """Tell what the listing said."""
        ...

    def demand_ready(self) -> None:
        """UnusableError says why nothing can be started on it, and what to do."""
        ...

    def is_installed(self) -> bool:
        """Tell whether the runner is there."""
        ...

    def install(self, app: Path) -> None:
        """Install the runner.

        Raises:
            NoSpaceError: the device is full.
            InstallError: it was refused; says why.
        """
        ...

    def push(self, local: Path, remote: str) -> None:
        """Copy a file to `remote`, below the app's Documents. DeviceError if that fails."""
        ...

    def pull(self, remote: str, local: Path, size: int = 0) -> bool:
        """Copy a file back; False if it is not there.

        Args:
            remote: below the app's Documents.
            local: the file to write.
            size: bytes it may have, as far as that is known; they are given time.
        """
        ...

    def launch(self, words: tuple[str, ...], deadline: float) -> None:
        """Start the app with `words` and wait until it has ended, whatever it did.

        Raises:
            LockedError, UntrustedError, NoRunnerError, NoDiskImageError, DeveloperModeError: what
                the device says.
            HangError: it did not end within `deadline` seconds; it was ended, or may still run.
            DeviceLostError: the device went away.
        """
        ...

    def stop(self) -> None:
        """End the app if it runs."""
        ...

    def crash_logs(self, folder: Path) -> list[Path]:
        """Copy those crash logs into `folder` that the last launch may have left, newest last."""
        ...


def runner_id() -> str:
    """Return the bundle identifier of the runner: of the environment, of its file, or ours."""
    named = os.environ.get(RUNNER_ID)
    app = runner_app()
    return named or (identifier_of(app) if app else DEFAULT_ID)


def use_runner(path: str) -> None:
    """From here on, this .app or .ipa is the runner that is installed where it is missing."""
    os.environ[RUNNER] = path


def runner_app() -> Path | None:
    """Find the runner's file that the user gave. RequestError if it is none."""
    named = os.environ.get(RUNNER)
    if not named:
        return None
    path = Path(named)
    if path.suffix not in (".app", ".ipa") or not path.exists():
        raise RequestError(
            f"{path} is no .app or .ipa: build the runner (ios_harness/README.md) and give its path"
        )
    return path


def identifier_of(app: Path) -> str:
    """Read the bundle identifier of an .app or .ipa. RequestError if it has none."""
    try:
        found = plistlib.loads(_info(app)).get("CFBundleIdentifier")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, plistlib.InvalidFileException):
        found = None
    if not isinstance(found, str) or not found:
        raise RequestError(f"{app} has no Info.plist with a CFBundleIdentifier: build it again")
    return found


def _info(app: Path) -> bytes:
    if app.is_dir():
        return (app / "Info.plist").read_bytes()
    with zipfile.ZipFile(app) as archive:
        names = [
            n for n in archive.namelist() if n.count("/") == 2 and n.endswith(".app/Info.plist")
        ]
        return archive.read(names[0] if names else "Info.plist")


def seconds_for(size: int, rate: int) -> float:
    """Seconds that a copy may take: half a minute, and its bytes at the slowest rate."""
    return 30.0 + size / rate
