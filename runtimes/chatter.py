"""What C libraries write to stderr by themselves, which no user should have to read."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def without(dropped: Callable[[bytes], object]) -> Iterator[None]:
    """Drop lines that reach the process's stderr in the block; others are passed on at its end.

    Args:
        dropped: tells, of a line with its line end, whether nobody should see it.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # closed: nobody could read a line
        yield
        return
    with contextlib.suppress(AttributeError, ValueError, OSError):
        sys.stderr.flush()
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            kept = b"".join(line for line in caught if not dropped(line))
            if kept:
                os.write(2, kept)
