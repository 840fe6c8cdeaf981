"""Measure the cost of an export and the start-up of the command line, on real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.errors import ExportError
from profiles.lab.bench.rows import STARTUP_S, Limit

SAM_EXPORT = (sys.executable, "-m", "exporter.cli")
STARTUPS = 5
QUESTIONS = ("--help", "--list")


@dataclass(frozen=True)
class Usage:
    """Resources used by a process and all the processes it waited for.

    Attributes:
        cpu_s: user and system time of all of them.
        wall_s: from start to end.
        peak_gb: the highest resident memory of any one of them, in 10**9 bytes.
    """

    cpu_s: float
    wall_s: float
    peak_gb: float


def run(command: Sequence[str], log: Path) -> Usage:
    """Run a command to its end. ExportError with the last line of the log if it fails.

    Linux starts a program's high-water mark at its parent's, so the parent must be small:
    `__main__` imports no toolkit.
    """
    start = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else "it said nothing"
        raise ExportError(f"{' '.join(command)}: exit status {process.returncode}: {reason}")
    unit = 1 if sys.platform == "darwin" else 2**10
    return Usage(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * unit / 1e9)


def export_cost(limit: Limit, checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Measure `sam-export` for every target in float16."""
    options = ("--variant", limit.variant, "--target", "all", "--precision", "fp16")
    rest = ("--checkpoint", str(checkpoint), "--output", str(folder / "bundles"))
    usage = run((*SAM_EXPORT, *options, *rest), folder / f"export-{limit.variant}.log")
    return {
        "variant": limit.variant,
        "command": f"sam-export {' '.join(options)}",
        "cpu_s": round(usage.cpu_s, 2),
        "wall_s": round(usage.wall_s, 2),
        "peak_gb": round(usage.peak_gb, 3),
        "cpu_s_limit": limit.cpu_s,
        "peak_gb_limit": limit.peak_gb,
    }


def startup_cost(folder: Path) -> list[dict[str, Any]]:
    """Time the command line's answers; every run is kept."""
    answers = []
    for question in QUESTIONS:
        log = folder / "startup.log"
        walls = [round(run((*SAM_EXPORT, question), log).wall_s, 4) for _ in range(STARTUPS)]
        command = f"sam-export {question}"
        answers.append({"command": command, "wall_s": walls, "wall_s_limit": STARTUP_S})
    return answers
