"""This process's use of memory, processor time and cores. Standard library only."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path


def peak_bytes() -> int:
    """Peak resident memory of this process, in bytes.

    On Linux `getrusage` keeps the high-water mark from before `exec`, so it would report the size
    of the exporter that started us; VmHWM starts afresh.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        marks = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if marks:
            return int(marks[0].split()[1]) * 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 2**10  # bytes there, KB here


def clock_ns() -> int:
    """Read a monotonic clock that nothing adjusts."""
    raw = getattr(time, "CLOCK_MONOTONIC_RAW", None)
    return time.perf_counter_ns() if raw is None else time.clock_gettime_ns(raw)


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
