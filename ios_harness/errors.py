"""What can go wrong between this machine and one of Apple's systems.

RequestError
├── NoXcodeError          no Xcode here, or one that is too old
├── NoProgramError        another program that is needed is not here
└── UnusableError         a device that cannot be used as it is (runtimes/remote/errors.py)
    ├── UnpairedError         it does not trust this computer
    ├── LockedError           its screen is locked
    ├── DeveloperModeError    developer mode is off
    ├── NoDiskImageError      the developer disk image is not mounted
    ├── UntrustedError        it does not trust who signed the runner
    ├── NoRunnerError         the runner is not installed
    └── LowPowerError         low-power mode is on
DeviceError
├── ToolError             a call of a tool failed
│   └── ToolTimeoutError      or took longer than it may
├── InstallError          the runner was refused
└── RunnerError           the runner died, hung or answered nonsense
    ├── CrashError            it crashed; names the log
    ├── MemoryLimitError      the system ended it for its memory
    ├── HangError             it did not end in time
    └── AnswerError           its answer is cut short, or of another version
"""

from __future__ import annotations

from exporter.errors import DeviceError, RequestError, RunnerError
from runtimes.remote.errors import UnusableError


class NoXcodeError(RequestError):
    """No Xcode here, or one that is too old."""


class NoProgramError(RequestError):
    """A program that is needed is not here."""


class UnpairedError(UnusableError):
    """The device does not trust this computer."""


class LockedError(UnusableError):
    """The device's screen is locked."""


class DeveloperModeError(UnusableError):
    """Developer mode is off."""


class NoDiskImageError(UnusableError):
    """The developer disk image is not mounted."""


class UntrustedError(UnusableError):
    """The device does not trust who signed the runner."""


class NoRunnerError(UnusableError):
    """The runner is not installed."""


class LowPowerError(UnusableError):
    """Low-power mode is on."""


class ToolError(DeviceError):
    """A call of a tool failed."""


class ToolTimeoutError(ToolError):
    """A call of a tool took longer than it may."""


class InstallError(DeviceError):
    """The device refused the runner."""


class CrashError(RunnerError):
    """The runner crashed."""


class MemoryLimitError(RunnerError):
    """The system ended the runner for its memory."""


class HangError(RunnerError):
    """The runner did not end in time."""


class AnswerError(RunnerError):
    """The runner's answer is cut short, or of another version."""
