"""Progress of long work, and silence from toolkits that print."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Report = Callable[[str], None]
"""Takes one line about what is being done now."""


def silent(line: str) -> None:
    """A `Report` that says nothing."""
    del line


def on_stderr() -> Report:
    """A `Report` that prints each stage with the seconds since the start.

    It writes to a copy of stderr, so that it still speaks while `quiet` holds the original.
    """
    stream = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")
    start = time.perf_counter()

    def report(line: str) -> None:
        stream.write(f"[{time.perf_counter() - start:6.1f} s] {line}\n")
        stream.flush()

    return report


@contextmanager
def interruptible(log: Path) -> Iterator[None]:
    """Ctrl-C ends the block, even where a toolkit swallows it, and takes the log along.

    coremltools and its imports have bare `except` clauses: the export went on as if nothing had
    been said. Nobody needs a log of what they stopped themselves.
    """
    before, came = signal.getsignal(signal.SIGINT), False
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def remember(number: int, frame: Any) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    except KeyboardInterrupt:
        came = True
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            log.unlink(missing_ok=True)
            raise KeyboardInterrupt


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Send everything this process prints, C++ libraries included, to the end of `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with log.open("ab") as stream:
        try:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            for descriptor in saved:
                os.close(descriptor)
