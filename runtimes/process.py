"""This process's use of memory, processor time, cores and threads. Standard library only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from runtimes import windows

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MOST_THREADS = 1024
"""More than any machine's cores; a request for more is a mistake."""


def peak_bytes() -> int:
    """Peak resident memory of this process, in bytes; 0 if the system does not tell.

    On Linux `getrusage` keeps the high-water mark from before `exec`, so it would report the size
    of the exporter that started us; VmHWM starts afresh.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        marks = [
            line
            for line in status.read_text("utf-8", "replace").splitlines()
            if line.startswith("VmHWM:")
        ]
        if marks:
            return int(marks[0].split()[1]) * 2**10
    if resource is None:
        return windows.peak_bytes()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 2**10  # bytes there, KB here


def clock_ns() -> int:
    """Read a monotonic clock that nothing adjusts."""
    raw = getattr(time, "CLOCK_MONOTONIC_RAW", None)
    return time.perf_counter_ns() if raw is None else time.clock_gettime_ns(raw)


def allowed_cores() -> tuple[int, ...]:
    """List the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def crowding(threads: int, cores: int) -> str:
    """Warn of more threads than cores; empty if there are enough cores."""
    if threads <= cores:
        return ""
    one = "1 core" if cores == 1 else f"{cores} cores"
    return f"{threads} threads on {one} wait for each other"


def hold_to(cores: Iterable[int]) -> tuple[int, ...]:
    """Run only on these cores from now on, future threads included.

    Returns:
        The cores; empty if there is no choice (none given, or a system that cannot).
    """
    wanted = sorted(set(cores))
    if not wanted or not hasattr(os, "sched_setaffinity"):
        return ()
    os.sched_setaffinity(0, wanted)
    return tuple(wanted)
