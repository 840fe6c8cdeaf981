"""A phone from a Mac by `xcrun devicectl` (iOS 17 and later)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.errors import DeviceError, DeviceLostError, RequestError
from ios_harness import crashes
from ios_harness.devicectl import (
    DEVELOPER,
    LOCKED,
    MOUNT,
    UNPAIRED,
    MissingFileError,
    Row,
    call,
    problem_of,
    row_of,
)
from ios_harness.errors import (
    DeveloperModeError,
    HangError,
    InstallError,
    LockedError,
    NoDiskImageError,
    ToolError,
    ToolTimeoutError,
    UnpairedError,
)
from ios_harness.program import QUICK, Program, at, objects_at, text_at
from ios_harness.transports import (
    EXECUTABLE,
    GRACE,
    INSTALL_SECONDS,
    PULL_RATE,
    PUSH_RATE,
    Identity,
    runner_id,
    seconds_for,
)
from runtimes.remote.errors import NoSpaceError, UnknownDeviceError


@dataclass
class CoreDevice:
    """A phone on devicectl. See `Transport`."""

    xcrun: Program
    row: Row
    bundle: str = field(default_factory=runner_id)
    _before: frozenset[str] | None = None

    @property
    def identity(self) -> Identity:
        """See `Transport`."""
        return self.row.identity

    def demand_ready(self) -> None:
        """Connect, then look at pairing, developer mode, disk image and lock, in that order."""
        details = row_of(self._device("info", "details"))
        problem = problem_of(details)
        if problem:
            kind = {UNPAIRED: UnpairedError, DEVELOPER: DeveloperModeError}.get(
                problem, UnknownDeviceError
            )
            raise kind(problem)
        if at(self._device("info", "lockState"), "passcodeRequired") is True:
            raise LockedError(LOCKED)
        if details.image is False:
            raise NoDiskImageError(MOUNT)

    def is_installed(self) -> bool:
        """See `Transport`."""
        found = self._device("info", "apps", "--bundle-id", self.bundle)
        return any(
            text_at(app, "bundleIdentifier") == self.bundle for app in objects_at(found, "apps")
        )

    def install(self, app: Path) -> None:
        """See `Transport`."""
        try:
            self._device("install", "app", str(app), deadline=INSTALL_SECONDS)
        except (ToolError, DeviceError) as error:
            if isinstance(error, NoSpaceError | DeviceLostError):
                raise
            raise InstallError(
                f"the device refused the runner ({error}): sign it with a team that has "
                "this device (ios_harness/README.md)"
            ) from None

    def push(self, local: Path, remote: str) -> None:
        """See `Transport`."""
        size = local.stat().st_size
        self._device(
            *("copy", "to", *self._container(), "--source", str(local)),
            *("--destination", f"Documents/{remote}"),
            deadline=seconds_for(size, PUSH_RATE),
        )

    def pull(self, remote: str, local: Path, size: int = 0) -> bool:
        """See `Transport`."""
        try:
            self._device(
                *("copy", "from", *self._container(), "--source", f"Documents/{remote}"),
                *("--destination", str(local)),
                deadline=seconds_for(size, PULL_RATE),
            )
        except MissingFileError:
            return False
        return local.is_file()

    def launch(self, words: tuple[str, ...], deadline: float) -> None:
        """See `Transport`."""
        self._before = self._log_names()
        try:
            self._device(
                *("process", "launch", "--console", "--terminate-existing", self.bundle, *words),
                deadline=deadline + GRACE,
            )
        except ToolTimeoutError:
            self.stop()
            raise HangError(
                f"the runner did not end in {deadline + GRACE:g} s, nor did its own watchdog end "
                "it; it was ended: restart the device and measure again"
            ) from None
        except MissingFileError as error:
            raise ToolError(str(error)) from None

    def stop(self) -> None:
        """See `Transport`."""
        found = self._device("info", "processes")
        for process in objects_at(found, "runningProcesses"):
            if f"/{EXECUTABLE}.app/" in text_at(process, "executable"):
                number = str(at(process, "processIdentifier"))
                self._device("process", "terminate", "--pid", number)

    def crash_logs(self, folder: Path) -> list[Path]:
        """See `Transport`."""
        new = sorted(self._log_names() - (self._before or frozenset()))
        found = []
        for name in new:
            with suppress(DeviceError, RequestError):
                self._device(
                    *("copy", "from", "--domain-type", "systemCrashLogs", "--source", name),
                    *("--destination", str(folder / name)),
                )
                found.append(folder / name)
        return [path for path in found if path.is_file()]

    def _log_names(self) -> frozenset[str]:
        found = self._device("info", "files", "--domain-type", "systemCrashLogs")
        paths = (
            text_at(f, "name") or text_at(f, "relativePath") for f in objects_at(found, "files")
        )
        names = (path.rpartition("/")[2] for path in paths)
        return frozenset(name for name in names if crashes.is_ours(name))

    def _container(self) -> tuple[str, ...]:
        return ("--domain-type", "appDataContainer", "--domain-identifier", self.bundle)

    def _device(self, *words: str, deadline: float = QUICK) -> dict[str, Any]:
        """`devicectl device A B --device ID ...`."""
        rest = ("--device", self.row.identifier, *words[2:])
        return call(self.xcrun, "device", *words[:2], *rest, deadline=deadline)
