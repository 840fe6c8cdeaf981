"""Fuzz one target for some time, in a process of its own that may hang or die."""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import time
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path

from exporter.printable import printable
from tests.fuzz.attempt import attempt
from tests.fuzz.mutate import Mutator
from tests.fuzz.target import load, seeds

TRIED, ACCEPTED, REFUSED, SINCE = range(4)
HUNG_S = 300.0
"""Seconds of wall time after which an input is said to hang: its processor's time is cut before."""
ROOM = 2 << 30
"""Bytes that the process may take beside what it has when it begins."""
MOST_FINDINGS = 20


@dataclass
class Count:
    """The tally of one target."""

    target: str
    tried: int = 0
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: dict[str, Path] = field(default_factory=dict)


def run(name: str, seconds: float, seed: int, folder: Path) -> Count:
    """Try mutations of the corpus until the time is over; findings are left in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    count, start = Count(name), time.monotonic()
    end = start + seconds
    while time.monotonic() < end and len(count.findings) < MOST_FINDINGS:
        _one_process(count, end, seed, folder)
        seed += 1
    count.seconds = time.monotonic() - start
    return count


def _one_process(count: Count, end: float, seed: int, folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    tally: SynchronizedArray[int] = context.Array("q", 4)
    process = context.Process(target=_work, args=(count.target, end, seed, folder, tally))
    process.start()
    hung = False
    while process.is_alive() and not hung:
        process.join(0.5)
        since = tally[SINCE]
        hung = bool(since) and time.monotonic_ns() - since > HUNG_S * 1e9
    if hung:
        process.kill()
        process.join()
    count.tried += tally[TRIED]
    count.accepted += tally[ACCEPTED]
    count.refused += tally[REFUSED]
    current = folder / "current"
    if hung or process.exitcode:
        what = f"hung for {HUNG_S:.0f} s" if hung else f"ended the process ({process.exitcode})"
        note(folder, current.read_bytes() if current.exists() else b"", what)
    count.findings |= {file.read_text("utf-8"): file for file in sorted(folder.glob("*.txt"))}


def _work(name: str, end: float, seed: int, folder: Path, tally: SynchronizedArray[int]) -> None:
    target = load(name)
    mutator = Mutator(target, list(seeds(name).values()), seed)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    first = True
    seen: set[str] = set()
    while time.monotonic() < end and len(list(folder.glob("*.txt"))) < MOST_FINDINGS:
        data = mutator.next()
        (folder / "current").write_bytes(data)
        tally[SINCE] = time.monotonic_ns()
        outcome = attempt(target, data, work)
        tally[SINCE] = 0
        tally[TRIED] += 1
        tally[ACCEPTED if outcome.accepted else REFUSED] += not outcome.finding
        if outcome.kind not in seen:
            seen.add(outcome.kind)
            mutator.keep(data)
            if outcome.finding:
                note(folder, data, outcome.finding)
        if first:  # imports have been made
            first = False
            _bound_memory()


def _bound_memory() -> None:
    """Let a reader that asks for gigabytes get a MemoryError, which is a finding."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    most = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def note(folder: Path, data: bytes, what: str) -> None:
    """Leave a finding: the input, and beside it what it did."""
    stem = hashlib.sha256(data).hexdigest()[:12]
    (folder / stem).write_bytes(data)
    (folder / f"{stem}.txt").write_text(printable(what, 500), encoding="utf-8")
