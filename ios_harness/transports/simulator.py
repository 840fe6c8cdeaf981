"""A simulator on a Mac by `xcrun simctl`: its app's folder is a folder of this Mac."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import DeviceError
from exporter.programs import Said
from ios_harness import crashes
from ios_harness.errors import (
    HangError,
    InstallError,
    NoRunnerError,
    ToolError,
    ToolTimeoutError,
)
from ios_harness.program import (
    QUICK,
    Program,
    last_line,
    objects_at,
    plain,
    read_json,
    short,
    text_at,
)
from ios_harness.transports import GRACE, INSTALL_SECONDS, NO_RUNNER, Identity, runner_id
from runtimes.remote.errors import NoSpaceError, UnknownDeviceError

BOOT_SECONDS = 300.0
LOGS = Path("Library/Logs/DiagnosticReports")
"""Where macOS keeps the crash logs of a simulator's apps, below a user's home."""
_BOOTED = "Booted"


@dataclass(frozen=True)
class SimulatorRow:
    """A simulator of `simctl list`."""

    identity: Identity
    state: str
    problem: str


def rows(xcrun: Program) -> tuple[SimulatorRow, ...]:
    """List the simulators of iPhones and iPads. ToolError if simctl fails."""
    said = xcrun.run("simctl", "list", "devices", "-j")
    if said.code:
        raise ToolError(f"`simctl list devices` failed: {last_line(said)}")
    found = []
    data = read_json(said.out, "simctl list")
    runtimes = data.get("devices") if isinstance(data, dict) else None
    for runtime in runtimes if isinstance(runtimes, dict) else {}:
        system = str(runtime).rpartition(".")[2]
        if not system.startswith("iOS-"):
            continue
        found += [_row(device, system) for device in objects_at(data, "devices", str(runtime))]
    return tuple(found)


def _row(device: dict[str, object], system: str) -> SimulatorRow:
    available = device.get("isAvailable") is True
    reason = text_at(device, "availabilityError") or "Xcode does not say why"
    problem = f"Xcode cannot use it ({reason}): install its runtime, or delete it"
    identity = Identity(
        udid=text_at(device, "udid"),
        name=text_at(device, "name"),
        model=text_at(device, "name"),
        system=f"iOS {system.removeprefix('iOS-').replace('-', '.')}",
    )
    return SimulatorRow(identity, text_at(device, "state"), "" if available else problem)


@dataclass
class Simulator:
    """A simulator. See `Transport`."""

    xcrun: Program
    row: SimulatorRow
    bundle: str = field(default_factory=runner_id)
    _started: bool = False
    _before: frozenset[str] = frozenset()

    @property
    def identity(self) -> Identity:
        """See `Transport`."""
        return self.row.identity

    def demand_ready(self) -> None:
        """Boot it if it is shut down. UnknownDeviceError if Xcode cannot use it."""
        if self.row.problem:
            raise UnknownDeviceError(self.row.problem)
        if self.row.state != _BOOTED and not self._started:
            self._demand("boot", self.identity.udid)
            self._started = True
        self._demand("bootstatus", self.identity.udid, "-b", deadline=BOOT_SECONDS)

    def shut_down(self) -> None:
        """Shut it down if this process booted it."""
        if self._started:
            self._started = False
            self._demand("shutdown", self.identity.udid)

    def is_installed(self) -> bool:
        """See `Transport`."""
        return self._container() is not None

    def install(self, app: Path) -> None:
        """See `Transport`."""
        said = self._simctl("install", self.identity.udid, str(app), deadline=INSTALL_SECONDS)
        if said.code and "space" in plain(said).lower():
            raise NoSpaceError("this Mac is full: free some space")
        if said.code:
            raise InstallError(
                f"the simulator refused the runner ({last_line(said)}): build it "
                "for simulators, not for devices"
            )

    def push(self, local: Path, remote: str) -> None:
        """See `Transport`."""
        target = self._documents() / remote
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(local, target)
        except OSError as error:
            raise ToolError(f"cannot write {target}: {error.strerror}") from None

    def pull(self, remote: str, local: Path, size: int = 0) -> bool:
        """See `Transport`."""
        del size
        source = self._documents() / remote
        if not source.is_file():
            return False
        shutil.copyfile(source, local)
        return True

    def launch(self, words: tuple[str, ...], deadline: float) -> None:
        """See `Transport`."""
        self._before = frozenset(path.name for path in self._logs())
        udid = self.identity.udid
        try:
            said = self._simctl(
                *("launch", "--console", "--terminate-running-process", udid, self.bundle, *words),
                deadline=deadline + GRACE,
            )
        except ToolTimeoutError:
            self.stop()
            raise HangError(
                f"the runner did not end in {deadline + GRACE:g} s; it was ended"
            ) from None
        if said.code and "FBSOpenApplicationServiceErrorDomain" in plain(said):
            if self._container() is None:
                raise NoRunnerError(NO_RUNNER)
            raise ToolError(f"simctl cannot start the runner: {last_line(said)}")

    def stop(self) -> None:
        """See `Transport`."""
        self._simctl("terminate", self.identity.udid, self.bundle)

    def crash_logs(self, folder: Path) -> list[Path]:
        """See `Transport`."""
        new = [path for path in self._logs() if path.name not in self._before]
        return [Path(shutil.copy2(path, folder / path.name)) for path in new]

    def _logs(self) -> list[Path]:
        folder = Path.home() / LOGS
        return sorted(path for path in folder.glob("*.ips") if crashes.is_ours(path.name))

    def _documents(self) -> Path:
        container = self._container()
        if container is None:
            raise NoRunnerError(NO_RUNNER)
        return container / "Documents"

    def _container(self) -> Path | None:
        said = self._simctl("get_app_container", self.identity.udid, self.bundle, "data")
        return Path(said.out.strip()) if said.code == 0 and said.out.strip() else None

    def _demand(self, *words: str, deadline: float = QUICK) -> None:
        said = self._simctl(*words, deadline=deadline)
        if said.code:
            raise DeviceError(f"`simctl {short(words)}` failed: {last_line(said)}")

    def _simctl(self, *words: str, deadline: float = QUICK) -> Said:
        return self.xcrun.run("simctl", *words, deadline=deadline)
