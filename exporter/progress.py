"""Show the progress of long work, and silence toolkits that print."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.printable import one_line
from exporter.streams import copy_of_stderr

Progress = Callable[[str], None]
"""Called with one line at the start of each stage."""
BEAT = 20.0
"""Seconds of one stage after which a user wonders whether anything happens."""


def silent(line: str) -> None:
    """Show nothing."""
    del line


def on_stderr() -> Progress:
    """Make a `Progress` that prints each stage with the seconds since the start.

    It writes to a copy of stderr, so it still prints while `quiet` holds the original.
    """
    stream = copy_of_stderr()
    start = time.perf_counter()

    def report(line: str) -> None:
        stream.write(f"[{time.perf_counter() - start:6.1f} s] {one_line(line)}\n")
        stream.flush()

    return report


@contextmanager
def heartbeat(report: Progress, doing: str, every: float = BEAT) -> Iterator[None]:
    """Within it, show from time to time that long work goes on.

    Args:
        report: where to.
        doing: the work.
        every: seconds between two lines; work that ends sooner shows none.
    """
    done, start = threading.Event(), time.perf_counter()

    def beat() -> None:
        while not done.wait(every):
            report(f"{doing}: {time.perf_counter() - start:.0f} s so far")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


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
