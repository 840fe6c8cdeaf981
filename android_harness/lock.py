"""One run on a device at a time: two would time each other."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from android_harness.errors import BusyError

_LONGEST = 100
"""Letters of a serial in the name of its lock; a file's name holds 255 bytes."""


@contextmanager
def locked(serial: str) -> Iterator[None]:
    """Hold the device for this process; the system lets go of it however the process ends.

    Raises:
        BusyError: another run on this computer holds it.
    """
    path = lock_file(serial)
    stream = None
    while stream is None:
        try:
            stream = _held(path)
        except BlockingIOError:
            raise BusyError(f"{serial} is used by another run here: wait for its end") from None
    with stream:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def lock_file(serial: str) -> Path:
    """The file whose lock stands for the device; it exists while a run does."""
    name = re.sub(r"[^\w.-]", "_", serial)[:_LONGEST]
    if name != serial:  # two serials must not become one
        name += f"-{hashlib.sha256(serial.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return Path(tempfile.gettempdir()) / f"sam-export-{os.getuid()}-{name}.lock"


def _held(path: Path) -> IO[str] | None:
    """The open file with its lock; None if its last holder removed it in between."""
    stream = path.open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(stream.fileno()).st_nlink:
            return stream
    except BlockingIOError:
        stream.close()
        raise
    stream.close()
    return None
