"""The time that a step of a run takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from exporter.progress import heartbeat, on_stderr

T = TypeVar("T")


def timed(ms: dict[str, float], name: str, work: Callable[[], T]) -> T:
    """Do the work, put its milliseconds into `ms`, and show meanwhile that something is done."""
    start = time.perf_counter()
    with heartbeat(on_stderr(), f"sam-run: {name}"):  # Core AI's runtime may take minutes
        result = work()
    ms[name] = (time.perf_counter() - start) * 1000
    return result


def described(ms: dict[str, float]) -> dict[str, str | float]:
    """Describe the times as data: they are this machine's, no phone's."""
    return {"device": "host"} | {name: round(value, 3) for name, value in ms.items()}
