"""Ctrl-C and SIGTERM: both end a command, but never halfway through its clean-up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; code that does not tell them apart treats it as Ctrl-C."""


def describe_end(end: KeyboardInterrupt) -> tuple[str, int]:
    """Word for how a command ended, and its exit status: 128 + signal, as in shells."""
    if isinstance(end, Terminated):
        return "terminated", 128 + signal.SIGTERM
    return "interrupted", 128 + signal.SIGINT


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` in the block at the first SIGTERM; ignore further ones.

    The program `timeout` sends it twice, to us and to our group: the second one would stop the
    clean-up that the first began. Changes nothing if our parent ignores SIGTERM, nor in a thread,
    where Python cannot handle signals.
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
    """End the block at either signal, even if a toolkit swallows it, and delete the log.

    coremltools and its imports have bare `except` clauses: the export went on regardless. Nobody
    needs the log of an export that they stopped themselves.
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
            # Raise a new one: the toolkit may have raised an error with this one as its cause, and
            # a chain of causes that leads back to its start never ends.
            raise type(came[0])


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold both signals back until the block has ended.

    So nothing stops a clean-up, and no process is started and forgotten. Signals that Python code
    does not handle are left alone.
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
    """Map each signal that Python code handles to its handler; empty in a thread."""
    if not _in_main_thread():
        return {}
    handlers = {int(number): signal.getsignal(number) for number in SIGNALS}
    return {number: handler for number, handler in handlers.items() if callable(handler)}


def _put_back(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
