"""Run one step in a process of its own, stopped if it exceeds its memory limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.signals import uninterrupted
from profiles.lab.bench.cost import Usage

EVERY_S = 0.2
"""Seconds between two looks at a process's memory."""
PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessEnd:
    """The end of a process.

    Attributes:
        usage: of it and the processes it waited for.
        reason: empty if all went well, else its last line.
        stopped_gb: memory of it and its children, if it was stopped for that; else None.
    """

    usage: Usage
    reason: str
    stopped_gb: float | None = None


def run_within(command: Sequence[str], log: Path, limit_gb: float) -> ProcessEnd:
    """Run a command to its end, or until its processes hold more than `limit_gb` (10**9 bytes)."""
    start = time.perf_counter()
    process: subprocess.Popen[bytes] | None = None
    watched, done = _Watched(), threading.Event()
    try:
        with uninterrupted():
            process = _start(command, log)
        guard = threading.Thread(
            target=_guard, args=(process.pid, limit_gb, done, watched), daemon=True
        )
        guard.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        done.set()
        if process is not None and process.returncode is None:  # interrupted: leave nothing running
            _kill(process.pid)
            process.wait()
    guard.join()
    wall = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 2**10
    # On Linux a child's ru_maxrss includes its parent's memory at the fork.
    peak_gb = watched.most_gb or usage.ru_maxrss * unit / 1e9
    used = Usage(usage.ru_utime + usage.ru_stime, wall, peak_gb)
    if watched.stopped_gb is not None:
        return ProcessEnd(used, f"needed more than {limit_gb:.1f} GB", watched.stopped_gb)
    return ProcessEnd(used, _last_words(log, process.returncode) if process.returncode else "")


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
            start_new_session=True,
        )


def memory_limit() -> float:
    """Three quarters of this machine's memory, in 10**9 bytes; the rest is for other processes."""
    return 0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def resident_gb(pid: int) -> float:
    """Resident memory of a process and its descendants, in 10**9 bytes; 0 if /proc has none."""
    total, waiting = 0, [pid]
    while waiting:
        folder = PROC / str(waiting.pop())
        with contextlib.suppress(OSError):
            total += int((folder / "statm").read_text().split()[1])
            for thread in (folder / "task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
    return total * os.sysconf("SC_PAGE_SIZE") / 1e9


@dataclass
class _Watched:
    """The guard's record: peak memory, and the memory at which it stopped the process."""

    most_gb: float = 0.0
    stopped_gb: float | None = None


def _guard(pid: int, limit_gb: float, done: threading.Event, watched: _Watched) -> None:
    while not done.wait(EVERY_S):
        held = resident_gb(pid)
        watched.most_gb = max(watched.most_gb, held, _high_water_gb(pid))
        if held > limit_gb:
            watched.stopped_gb = held
            _kill(pid)
            return


def _high_water_gb(pid: int) -> float:
    """Peak memory of the process itself, so that no spike between two looks is missed."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 2**10 / 1e9
    return 0.0


def _kill(pid: int) -> None:
    """Kill the process and its children, its own session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _last_words(log: Path, status: int) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    if status < 0:
        return f"killed by signal {-status}"
    return lines[-1][:300] if lines else f"exit status {status} and no output"
