"""An emulator by the name of its AVD: started without a window if it is not running, and stopped.

An emulator shares this host's processor: what it tells of speed is never a phone's.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from android_harness.adb.connection import Connection
from android_harness.adb.program import Adb, find_adb
from android_harness.devices import android
from android_harness.devices.android import AndroidDevice
from android_harness.errors import AdbTimeoutError
from exporter import programs
from exporter.errors import DeviceError, DeviceLostError, RequestError
from runtimes.device import Bench, DeviceFacts, Listed, Method
from runtimes.remote.errors import UnknownDeviceError

LOG = logging.getLogger("sam_export.device")
BOOT_SECONDS = 300.0
STOP_SECONDS = 20.0
PORTS = range(5556, 5586, 2)
"""Console ports that adb looks at; adbd listens on the next. 5554 is for one started by hand."""
_TELL_EVERY = 15.0
_TAIL = 65_536
"""Bytes at the end of its log that hold the last words."""
_QUIET = ("-no-window", "-no-audio", "-no-boot-anim", "-no-snapshot")
_FLAGS = (*_QUIET, "-gpu", "swiftshader_indirect")
# API 30 and later say it under `boot`, older ones under `kernel`.
_NAME = "getprop ro.boot.qemu.avd_name; getprop ro.kernel.qemu.avd_name"


@dataclass
class Started:
    """An emulator that this process started."""

    process: subprocess.Popen[bytes]
    connection: Connection
    log: Path

    def stop(self) -> None:
        """End it, kindly at first. Nothing if it has ended."""
        if self.process.poll() is None:
            with suppress(DeviceError, RequestError):
                serial = self.connection.serial
                self.connection.adb.run("-s", serial, "emu", "kill", deadline=STOP_SECONDS)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.unlink(missing_ok=True)

    def last_words(self) -> str:
        """Return the last line it printed."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, self.log.stat().st_size - _TAIL))
                lines = stream.read(_TAIL).decode(errors="replace").split("\n")
        except FileNotFoundError:
            lines = []
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


@dataclass
class EmulatorDevice:
    """An AVD. See `Device`; it runs from the first question until `open` ends, or this process."""

    avd: str
    adb: Adb
    boot_seconds: float = BOOT_SECONDS
    _started: Started | None = None
    _facts: DeviceFacts | None = None
    _device: AndroidDevice | None = field(default=None)

    @property
    def name(self) -> str:
        """As a user names it."""
        return f"emulator:{self.avd}"

    def facts(self) -> DeviceFacts:
        """Read what the device is; starts it the first time."""
        if self._facts is None:
            self._facts = self._running().facts()
        return self._facts

    def open(self, method: Method) -> AbstractContextManager[Bench]:
        """See `AndroidDevice.open`; an emulator that was started for it is stopped at its end."""
        return self._opened(method)

    def stop(self) -> None:
        """End it if this process started it."""
        started, self._started, self._device = self._started, None, None
        if started is not None:
            LOG.info("stopping %s", self.name)
            started.stop()
            atexit.unregister(self.stop)

    @contextmanager
    def _opened(self, method: Method) -> Iterator[Bench]:
        try:
            device = self._running()
            with device.open(method) as bench:
                yield bench
        finally:
            self.stop()

    def _running(self) -> AndroidDevice:
        if self._device is None:
            connection = _find_running(self.adb, self.avd) or self._start()
            self._device = AndroidDevice(connection, self.name)
        return self._device

    def _start(self) -> Connection:
        program = find_emulator()
        known = avds(program)
        if self.avd not in known:
            raise UnknownDeviceError(
                f"unknown AVD {self.avd!r}; choose from {', '.join(known) or 'none'}"
            )
        started = start(program, self.adb, self.avd)
        self._started = started
        atexit.register(self.stop)  # for whoever asked for facts and never opened it
        try:
            wait_until_booted(started, self.name, self.boot_seconds)
        except BaseException:
            self.stop()
            raise
        return started.connection


def find_emulator() -> Path:
    """Find the emulator of the Android SDK, or the one on PATH. RequestError if there is none."""
    roots = (os.environ.get("ANDROID_HOME"), os.environ.get("ANDROID_SDK_ROOT"))
    places = [str(Path(root) / "emulator" / "emulator") for root in roots if root]
    for place in (*places, "emulator"):
        found = shutil.which(place)
        if found:
            return Path(found)
    raise RequestError("no `emulator` program here: install Android's SDK, set ANDROID_HOME")


def avds(program: Path) -> tuple[str, ...]:
    """List the names of AVDs; a warning that is printed among them has spaces."""
    try:
        ran = programs.run([str(program), "-list-avds"], deadline=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RequestError(f"{program} -list-avds failed: {error}") from None
    lines = [line.strip() for line in ran.out.splitlines()]
    return tuple(line for line in lines if line and " " not in line and "|" not in line)


def start(program: Path, adb: Adb, avd: str) -> Started:
    """Start an AVD on a free port, without a window."""
    taken = {row.serial for row in adb.rows()}
    free = [p for p in PORTS if f"emulator-{p}" not in taken and _free(p) and _free(p + 1)]
    if not free:
        raise RequestError("every port for an emulator is taken: stop one of those that run")
    port = free[0]
    descriptor, name = tempfile.mkstemp(prefix="sam-export-emulator-", suffix=".log")
    command = [str(program), "-avd", avd, *_FLAGS, "-port", str(port)]
    LOG.info("starting %s on port %d", avd, port)
    with os.fdopen(descriptor, "wb") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours: it is stopped when all is put back
            )
        except OSError as error:
            Path(name).unlink()
            raise RequestError(f"{program} cannot be started: {error.strerror}") from None
    return Started(process, Connection(adb, f"emulator-{port}"), Path(name))


def wait_until_booted(started: Started, name: str, limit: float) -> None:
    """Return when Android says that it has booted.

    Raises:
        DeviceError: the emulator ended, or has not booted within `limit` seconds.
        RequestError: it writes without end.
    """
    begun = told = time.monotonic()
    while True:
        now = time.monotonic()
        if started.process.poll() is not None:
            raise DeviceError(
                f"{name} ended before it had booted (exit code {started.process.returncode}); its "
                f"last words: {started.last_words()}"
            )
        if started.log.stat().st_size > programs.MOST:
            raise RequestError(f"the emulator of {name} writes without end: is it the program?")
        if _booted(started.connection):
            break
        if now - begun > limit:
            raise DeviceError(
                f"{name} has not booted in {limit:g} s: it needs KVM, or more time; its last "
                f"words: {started.last_words()}"
            )
        if now - told > _TELL_EVERY:
            told = now
            LOG.info("%s boots, %.0f s so far", name, now - begun)
        time.sleep(1)
    LOG.info("%s has booted in %.0f s", name, time.monotonic() - begun)


def _booted(connection: Connection) -> bool:
    if not connection.is_there():
        return False
    try:
        return connection.shell("getprop sys.boot_completed").out.strip() == "1"
    except (DeviceLostError, AdbTimeoutError, DeviceError) as error:
        LOG.debug("not booted yet: %s", error)
        return False


def _find_running(adb: Adb, avd: str) -> Connection | None:
    for row in adb.rows():
        if row.serial.startswith("emulator-") and not row.problem:
            connection = Connection(adb, row.serial)
            if avd in connection.shell(_NAME).out.split("\n"):
                return connection
    return None


def _free(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def find(avd: str) -> EmulatorDevice:
    """Find the AVD of that name, or the only one; it is not started yet.

    Raises:
        RequestError: no adb, no emulator, no such AVD, or several and none was chosen.
    """
    adb = find_adb()
    known = avds(find_emulator())
    if not avd and len(known) == 1:
        avd = known[0]
    if avd not in known:
        names = ", ".join(f"emulator:{name}" for name in known) or "none"
        asked = f"unknown AVD {avd!r}" if avd else "no AVD was chosen"
        raise UnknownDeviceError(f"{asked}; choose from {names}")
    return EmulatorDevice(avd, adb)


def listed() -> tuple[Listed, ...]:
    """List every AVD, none without an emulator; those that run are among `android` devices too."""
    return tuple(Listed(f"emulator:{avd}", None, None) for avd in _seen())


def knows(avd: str) -> bool:
    """Tell whether there is an AVD of that name; there is none without an emulator."""
    return avd in _seen()


def _seen() -> tuple[str, ...]:
    try:
        return avds(find_emulator())
    except RequestError as error:
        LOG.debug("no AVDs: %s", error)
        return ()


def clean(avd: str) -> str:
    """Remove what was kept on a running AVD; says how much it was. RequestError if it is off."""
    device = find(avd)
    connection = _find_running(device.adb, device.avd)
    if connection is None:
        raise UnknownDeviceError(f"{device.name} is not running: start it to clean it")
    freed = AndroidDevice(connection, device.name).clean()
    return f"{freed / 2**20:.1f} MB removed"


KIND = replace(android.KIND, name="emulator", find=find, listed=listed, clean=clean, knows=knows)
