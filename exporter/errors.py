"""Every error this project raises on purpose.

    SamExportError
    ├── RequestError              exit 2: the request, or a file it names, is wrong
    │   ├── PromptError           a prompt this bundle cannot take
    │   ├── ImageError            an image that cannot be read
    │   ├── CheckpointError       a checkpoint that cannot be used
    │   │   └── CheckpointMismatch    tensors missing, unused or misshapen
    │   └── BundleError           a bundle that is incomplete, or differs from its manifest
    └── ExportError               exit 1: the work failed
        ├── DownloadError         a published checkpoint could not be fetched
        ├── LoweringError         a toolkit could not lower a graph
        ├── ParityError           a lowered graph misses its floor
        └── DeviceError           a device failed while it worked for us
            ├── DeviceLostError       it went away: cable, restart, adb
            ├── RunnerError           the runner on it died, hung or answered nonsense
            └── TooHotError           it did not cool down in time

A message is one line: the fault, its place, what to do. A command line prints it and exits with
`exit_status`.
"""

from __future__ import annotations

from collections.abc import Iterable

from exporter.printable import some


class SamExportError(Exception):
    """The root; catch this to catch them all."""

    exit_status = 1


class RequestError(SamExportError):
    """The request is wrong."""

    exit_status = 2


class PromptError(RequestError):
    """A prompt the bundle cannot take."""


class ImageError(RequestError):
    """An image that cannot be read or used."""


class CheckpointError(RequestError):
    """A checkpoint file that cannot be used."""


_OTHERWISE = "choose the --variant it was published as"


class CheckpointMismatch(CheckpointError):
    """The tensors of a checkpoint do not fit the variant."""

    def __init__(
        self,
        variant: str,
        missing: Iterable[str],
        unused: Iterable[str],
        misshapen: Iterable[str],
        looks_like: Iterable[str] = (),
        *,
        advice: str = "",
    ) -> None:
        self.missing = sorted(missing)
        self.unused = sorted(unused)
        self.misshapen = sorted(misshapen)
        self.looks_like = list(looks_like)
        parts = [
            f"{len(names)} {word} ({some(names)})"
            for word, names in (
                ("missing", self.missing),
                ("unused", self.unused),
                ("misshapen", self.misshapen),
            )
            if names
        ]
        looks = f"this looks like {' or '.join(self.looks_like)}" if self.looks_like else ""
        said = "; ".join(filter(None, (looks, advice))) or _OTHERWISE
        super().__init__(f"the checkpoint is not one of {variant}: {', '.join(parts)}; {said}")


class BundleError(RequestError):
    """A bundle that is incomplete, or differs from its manifest."""


class ExportError(SamExportError):
    """The export itself failed."""


class DownloadError(ExportError):
    """A published checkpoint could not be fetched."""


class LoweringError(ExportError):
    """A toolkit could not lower a graph; the message names its log."""


class ParityError(ExportError):
    """A lowered graph differs from torch by more than the floor of its precision allows."""


class DeviceError(ExportError):
    """A device failed while it worked for us; nothing of the run was recorded."""


class DeviceLostError(DeviceError):
    """The device went away: a cable, a restart, adb itself."""


class RunnerError(DeviceError):
    """The runner on the device died, hung or answered nonsense."""


class TooHotError(DeviceError):
    """The device did not cool down within the method's limit."""
