"""Ctrl-C, SIGTERM, a closed terminal: all end a command, but never halfway through its clean-up."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
AGAIN_S = 0.3
"""After which an end that got lost is raised again."""
_TERMINABLE = (signal.SIG_DFL,)
_IMPORT = "<frozen importlib._bootstrap>"


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; code that does not tell them apart treats it as Ctrl-C."""


def describe_end(end: KeyboardInterrupt) -> tuple[str, int]:
    """Word for how a command ended, and its exit status: 128 + signal, as in shells."""
    if isinstance(end, Terminated):
        return "terminated", 128 + signal.SIGTERM
    return "interrupted", 128 + signal.SIGINT


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` in the block at the first SIGTERM or SIGHUP; ignore further ones.

    The program `timeout` sends it twice, to us and to our group: the second one would stop the
    clean-up that the first began. Libraries lose or change what is raised while they run: a
    destructor drops it, a C++ module that is being imported makes an ImportError of it, or aborts
    the process. So it is raised again until the block ends, never during an import, and the block
    ends with it whatever came of it. Ctrl-C may come several times; an error that it turned into is
    Ctrl-C as well. Changes nothing for a signal that our parent ignores, nor in a thread, where
    Python cannot handle signals.
    """
    before, ends = _handled_here(_TERMINABLE), _Ends(sys._getframe(2))
    hook = sys.unraisablehook
    # A lost end is told of by nobody.
    sys.unraisablehook = lambda lost: None if _is_end(lost.exc_value) else hook(lost)
    try:
        for number in before:
            mine = ends.interrupt if number == signal.SIGINT else ends.terminate
            signal.signal(number, mine)
        yield
        _raise_last(ends.came, only=Terminated)
    except Exception as error:
        _raise_last(ends.came, cause=error)
        raise
    finally:
        ends.over.release()
        _put_back(before)
        sys.unraisablehook = hook


class _Ends:
    """The handlers of a block.

    Attributes:
        came: the ends that came, in order.
        over: held until the block is over.
        outside: the frame of the block.
    """

    def __init__(self, outside: Any) -> None:
        self.came = list[type[KeyboardInterrupt]]()
        self.outside = outside
        self.over = _thread.allocate_lock()
        self.over.acquire()

    def terminate(self, number: int, frame: Any) -> None:
        if Terminated not in self.came:
            self.came.append(Terminated)
            sent = _start(_send_again, self.over)
            if not (sent and self._is_importing(frame)):
                raise Terminated
        elif not _is_ending() and not self._is_importing(frame):
            raise Terminated

    def interrupt(self, number: int, frame: Any) -> None:
        self.came.append(KeyboardInterrupt)
        if not (self._is_importing(frame) and _start(_send_later, self.over)):
            raise KeyboardInterrupt

    def _is_importing(self, frame: Any) -> bool:
        """Tell whether the frame runs in an import that began in the block.

        Modules of C++ end the process with SIGABRT if their start is stopped.
        """
        while frame is not None and frame is not self.outside:
            if frame.f_code.co_filename == _IMPORT:
                return True
            frame = frame.f_back
        return False


def _raise_last(
    came: list[type[KeyboardInterrupt]],
    cause: Exception | None = None,
    only: type[KeyboardInterrupt] = KeyboardInterrupt,
) -> None:
    """Raise the end that came last, if it is one of these."""
    if came and issubclass(came[-1], only):
        raise came[-1] from cause


def _start(send: Callable[[_thread.LockType], None], over: _thread.LockType) -> bool:
    """Start to send a signal again; false if no thread can be started."""
    # Not a `Thread`: it takes locks that the code that was stopped here may hold.
    with suppress(RuntimeError):
        _thread.start_new_thread(send, (over,))
        return True
    return False


def _send_again(over: _thread.LockType) -> None:
    """Send SIGTERM to the main thread every now and then until the block is over."""
    while not over.acquire(timeout=AGAIN_S):
        _thread.interrupt_main(signal.SIGTERM)
    over.release()  # to whoever else waits for it


def _send_later(over: _thread.LockType) -> None:
    """Send SIGINT to the main thread once, if the block is not over by then."""
    if over.acquire(timeout=AGAIN_S):
        over.release()
    else:
        _thread.interrupt_main(signal.SIGINT)


def _is_ending() -> bool:
    """Tell whether an end is being handled: then a clean-up runs, which nothing may stop."""
    error, seen = sys.exc_info()[1], set[int]()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        if _is_end(error):
            return True
        seen.add(id(error))
        waiting += [error.__context__, error.__cause__]
    return False


def _is_end(error: BaseException | None) -> bool:
    return isinstance(error, KeyboardInterrupt)


@contextmanager
def interruptible(log: Path) -> Iterator[None]:
    """End the block at any of the signals, even if a toolkit swallows it, and delete the log.

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
def offered(take: Callable[[], bool]) -> Iterator[None]:
    """Offer each Ctrl-C of the block to `take`, and raise it only if that declines: false.

    Changes nothing for a signal that our parent ignores, nor in a thread.
    """
    handler = _handled_here().get(signal.SIGINT)
    if handler is None:
        yield
        return

    def offer(number: int, frame: Any) -> None:
        if not take():
            handler(number, frame)

    signal.signal(signal.SIGINT, offer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold the signals back until the block has ended.

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


def _handled_here(also: tuple[Any, ...] = ()) -> dict[int, Any]:
    """Map each signal that Python code handles to its handler; empty in a thread.

    Args:
        also: handlers of the system that count too.
    """
    if not _in_main_thread():
        return {}
    handlers = {int(number): signal.getsignal(number) for number in SIGNALS}
    return {
        number: handler
        for number, handler in handlers.items()
        if callable(handler) or handler in also
    }


def _put_back(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
