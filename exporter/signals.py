"""Ctrl-C and SIGTERM: both end a command, and neither ends it half way through a cleaning up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM came; whoever does not tell them apart treats it as Ctrl-C."""


def ended_by(end: KeyboardInterrupt) -> tuple[str, int]:
    """What a command says of its end, and its exit status: 128 and the signal, as shells count."""
    if isinstance(end, Terminated):
        return "terminated", 128 + signal.SIGTERM
    return "interrupted", 128 + signal.SIGINT


@contextmanager
def terminable() -> Iterator[None]:
    """The first SIGTERM raises `Terminated` in the block; further ones change nothing.

    The program `timeout` sends it twice, to us and to our group: the second one would stop the
    putting back that the first began. Left as it is: a SIGTERM that whoever started us ignores,
    and any in a thread, where Python lets nobody handle signals.
    """
    before, came = signal.getsignal(signal.SIGTERM), False
    if not _in_main_thread() or before in (signal.SIG_IGN, None):
        yield
        return

    def end(number: int, frame: Any) -> None:
        nonlocal came
        if not came:
            came = True
            raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interruptible(log: Path) -> Iterator[None]:
    """Both signals end the block, even where a toolkit swallows them, and take the log along.

    coremltools and its imports have bare `except` clauses: the export went on as if nothing had
    been said. Nobody needs a log of what they stopped themselves.
    """
    before, came = _handled_here(), list[KeyboardInterrupt]()

    def remember(number: int, frame: Any) -> None:
        try:
            before[number](number, frame)
        except KeyboardInterrupt as end:
            came.append(end)
            raise

    for number in before:
        signal.signal(number, remember)
    try:
        yield
    finally:
        _put_back(before)
        if came:
            log.unlink(missing_ok=True)
            # A new one: this one may be the cause of what the toolkit made of it, and a chain of
            # causes that leads back to its start has no end.
            raise type(came[0])


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Both signals count only when the block has ended.

    So nothing stops a cleaning up, and no process is started and forgotten. What nobody
    handles in Python is left as it is.
    """
    before, came = _handled_here(), list[int]()

    def remember(number: int, frame: Any) -> None:
        came.append(number)

    for number in before:
        signal.signal(number, remember)
    try:
        yield
    finally:
        _put_back(before)
    for late in came:
        before[late](late, None)


def _handled_here() -> dict[int, Any]:
    """Signal -> its handler, of those that Python code handles; none in a thread."""
    if not _in_main_thread():
        return {}
    known = {int(number): signal.getsignal(number) for number in SIGNALS}
    return {number: handler for number, handler in known.items() if callable(handler)}


def _put_back(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
