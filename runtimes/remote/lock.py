"""One run on a device at a time: two would time each other."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from exporter.bundle.claim import claim, lock_of
from exporter.errors import RequestError
from runtimes.remote.errors import BusyError

_LONGEST = 100
"""Letters of a serial in the name of its lock; a file's name holds 255 bytes."""


@contextmanager
def locked(serial: str) -> Iterator[None]:
    """Hold the device for this process until the block, or the process, ends.

    Raises:
        BusyError: another run on this computer holds it.
        RequestError: the folder for temporary files cannot be written.
    """
    path = _device_file(serial)
    with ExitStack() as stack:
        try:
            stack.enter_context(claim(path, lambda holder: _busy(serial, holder)))
        except OSError as error:
            raise RequestError(
                f"cannot write to {path.parent} ({error.strerror}): set TMPDIR to a folder of yours"
            ) from None
        yield


def lock_file(serial: str) -> Path:
    """Name the file that stands for the device in use; it exists while a run does."""
    return lock_of(_device_file(serial))


def _busy(serial: str, holder: str) -> BusyError:
    return BusyError(f"{serial} is used by another run here ({holder}): wait for its end")


def _device_file(serial: str) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else 0  # on Windows the folder is the user's own
    name = re.sub(r"[^\w.-]", "_", serial)[:_LONGEST]
    if name != serial:  # two serials must not become one
        name += f"-{hashlib.sha256(serial.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return Path(tempfile.gettempdir()) / f"sam-export-{user}-{name}"
