"""SIGTERM ends a command as Ctrl-C does: what was changed on a device is put back first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM came; whoever does not tell them apart treats it as Ctrl-C."""


@contextmanager
def terminable() -> Iterator[None]:
    """The first SIGTERM raises `Terminated` in the block; further ones change nothing.

    The program `timeout` sends it twice, to us and to our group: the second one would stop the
    putting back that the first began. Left as it is: a SIGTERM that whoever started us ignores,
    and any in a thread, where Python lets nobody handle signals.
    """
    before, came = signal.getsignal(signal.SIGTERM), False
    main = threading.current_thread() is threading.main_thread()
    if not main or before in (signal.SIG_IGN, None):
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
