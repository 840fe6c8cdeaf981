"""Locks on open files, on every system; a process's locks end with it, however it ends.

Unix locks the file (`flock`). Windows locks bytes, and locked bytes cannot be read: there one byte
stands for the file, so far behind its end that nobody reads it. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import time
from typing import Any


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


fcntl, msvcrt = _module("fcntl"), _module("msvcrt")

BINARY = getattr(os, "O_BINARY", 0)
"""For `os.open`: Windows would else write `\\r\\n` for `\\n`."""
BYTE = 2**31 - 2
"""The byte that stands for a file; Windows counts them in 31 bits here."""
POLL_S = 0.05
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


def lock(descriptor: int, *, shared: bool = False, wait: bool = True) -> None:
    """Lock an open file until it is closed. A file system without locks locks nothing.

    Args:
        descriptor: of the file, open for writing unless `shared`.
        shared: with others that share it; Windows has only locks for one.
        wait: for whoever holds it.

    Raises:
        BlockingIOError: another process holds it, and `wait` is False.
    """
    if fcntl is not None:
        _lock_file(descriptor, shared=shared, wait=wait)
    elif msvcrt is not None and not shared:
        # A reader takes none: it may have opened the file for reading alone, and every line of ours
        # is appended by one write, so a reader sees a torn line at worst.
        _lock_byte(descriptor, wait=wait)


def _lock_file(descriptor: int, *, shared: bool, wait: bool) -> None:
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, how if wait else how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _lock_byte(descriptor: int, *, wait: bool) -> None:
    here = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, BYTE, os.SEEK_SET)
    try:
        while True:
            with contextlib.suppress(PermissionError):
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            if not wait:
                raise BlockingIOError(errno.EAGAIN, "another process holds the lock")
            time.sleep(POLL_S)
    finally:
        os.lseek(descriptor, here, os.SEEK_SET)
