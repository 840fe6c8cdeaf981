"""What can go wrong between this machine and a device on adb.

RequestError
├── NoAdbError            no adb program here
├── ServerVersionError    another adb's server holds the port
└── UnusableError         a device that cannot be used as it is (runtimes/remote/errors.py)
    ├── UnauthorizedError     the device has not allowed this computer
    └── OfflineError          adb knows it and cannot reach it
DeviceError
├── AdbTimeoutError       a call took longer than it may
├── ReadOnlyError         the work folder cannot be written
└── CommandError          a command on the device failed

What any device can fail with is in `runtimes.remote.errors`.
"""

from __future__ import annotations

from exporter.errors import DeviceError, RequestError
from runtimes.remote.errors import UnusableError


class NoAdbError(RequestError):
    """No adb program here."""


class ServerVersionError(RequestError):
    """The adb server that runs is of another version, and ours could not take its place."""


class UnauthorizedError(UnusableError):
    """The device has not allowed this computer."""


class OfflineError(UnusableError):
    """Adb knows the device and cannot reach it."""


class AdbTimeoutError(DeviceError):
    """A call of adb took longer than it may."""


class ReadOnlyError(DeviceError):
    """The work folder of the device cannot be written."""


class CommandError(DeviceError):
    """A command on the device failed."""
