"""What can go wrong between this machine and a device on adb.

RequestError
├── NoAdbError            no adb program here
├── ServerVersionError    another adb's server holds the port
└── UnusableError         a device that cannot be used as it is
    ├── UnknownDeviceError    no device of that name
    ├── AmbiguousError        several, and none was chosen
    ├── UnauthorizedError     the device has not allowed this computer
    ├── OfflineError          adb knows it and cannot reach it
    └── BusyError             another run on this computer uses it
DeviceError
├── AdbTimeoutError       a call took longer than it may
├── NoSpaceError          the device is full
├── ReadOnlyError         the work folder cannot be written
└── CommandError          a command on the device failed
"""

from __future__ import annotations

from exporter.errors import DeviceError, RequestError


class NoAdbError(RequestError):
    """No adb program here."""


class ServerVersionError(RequestError):
    """The adb server that runs is of another version, and ours could not take its place."""


class UnusableError(RequestError):
    """A device that cannot be used as it is."""


class UnknownDeviceError(UnusableError):
    """No device of that name."""


class AmbiguousError(UnusableError):
    """Several devices, and none was chosen."""


class UnauthorizedError(UnusableError):
    """The device has not allowed this computer."""


class OfflineError(UnusableError):
    """Adb knows the device and cannot reach it."""


class BusyError(UnusableError):
    """Another run on this computer uses the device."""


class AdbTimeoutError(DeviceError):
    """A call of adb took longer than it may."""


class NoSpaceError(DeviceError):
    """The device is full."""


class ReadOnlyError(DeviceError):
    """The work folder of the device cannot be written."""


class CommandError(DeviceError):
    """A command on the device failed."""
