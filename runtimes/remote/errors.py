"""What can go wrong between this machine and any device elsewhere.

RequestError
└── UnusableError         a device that cannot be used as it is
    ├── UnknownDeviceError    no device of that name
    ├── AmbiguousError        several, and none was chosen
    └── BusyError             another run on this computer uses it
DeviceError
└── NoSpaceError          the device is full
"""

from __future__ import annotations

from exporter.errors import DeviceError, RequestError


class UnusableError(RequestError):
    """A device that cannot be used as it is."""


class UnknownDeviceError(UnusableError):
    """No device of that name."""


class AmbiguousError(UnusableError):
    """Several devices, and none was chosen."""


class BusyError(UnusableError):
    """Another run on this computer uses the device."""


class NoSpaceError(DeviceError):
    """The device is full."""
