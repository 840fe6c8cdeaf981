"""Run another program and read what it says, but no more than a bound. Standard library only."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from exporter.errors import RequestError
from exporter.printable import printable

MOST = 32 * 2**20
"""Bytes that a program may write to stdout, or to stderr, before it is ended."""
_CHUNK = 1 << 16
_LAST_WORDS = 1.0
"""Seconds that a program which was ended has for its pipes to close."""
_INTERRUPTED = 0.25
"""Seconds that a program, which got the same Ctrl-C, has to end by itself."""


class FloodError(RequestError):
    """A program wrote without end, so it is not the one it was taken for."""


@dataclass(frozen=True)
class Said:
    """What a program said. `out` and `err` are text; bytes that are not UTF-8 are replaced."""

    code: int
    out: str
    err: str


def run(
    command: Sequence[str],
    data: str = "",
    *,
    deadline: float | None = None,
    most: int = MOST,
    environment: Mapping[str, str] | None = None,
    apart: bool = False,
) -> Said:
    """Run a program to its end.

    Args:
        command: the program and its arguments.
        data: for its standard input.
        deadline: seconds; then it is killed.
        most: bytes of stdout, and of stderr.
        environment: of the program; None for this process's.
        apart: in a session of its own, which Ctrl-C does not reach.

    Raises:
        FloodError: it wrote more than `most`.
        subprocess.TimeoutExpired: it took longer; holds what it had said.
        OSError: it cannot be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=apart,
        bufsize=0,
    )
    ended: queue.SimpleQueue[bool] = queue.SimpleQueue()
    kept = bytearray(), bytearray()
    threading.Thread(target=_write, args=(process.stdin, data.encode()), daemon=True).start()
    for stream, into in zip((process.stdout, process.stderr), kept, strict=True):
        threading.Thread(target=_read, args=(stream, into, most, ended), daemon=True).start()
    try:
        code = _wait(process, ended, deadline)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_INTERRUPTED)
        process.kill()
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            with contextlib.suppress(queue.Empty):
                ended.get(timeout=_LAST_WORDS)
            error.output, error.stderr = map(bytes, kept)
        raise
    return Said(code, *map(text, kept))


def _wait(
    process: subprocess.Popen[bytes], ended: queue.SimpleQueue[bool], deadline: float | None
) -> int:
    """Wait until both pipes are read and the program has ended."""
    end = None if deadline is None else time.monotonic() + deadline
    try:
        for _ in range(2):
            if not ended.get(timeout=_rest(end)):
                name = printable(str(process.args[0]))  # type: ignore[index]
                raise FloodError(f"{name} writes without end, so it was ended: is it the program?")
    except queue.Empty:
        raise subprocess.TimeoutExpired(process.args, deadline or 0.0) from None
    return process.wait(_rest(end))


def _rest(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())


def _read(stream: IO[bytes], into: bytearray, most: int, ended: queue.SimpleQueue[bool]) -> None:
    """Read a pipe to its end, or over the bound: then it is closed, which ends a writer."""
    with stream:
        while chunk := stream.read(_CHUNK):
            into += chunk
            if len(into) > most:
                break
    ended.put(len(into) <= most)


def _write(stream: IO[bytes], data: bytes) -> None:
    # A program need not read its input.
    with contextlib.suppress(OSError), stream:
        rest = memoryview(data)
        while rest:
            rest = rest[stream.write(rest) :]


def text(raw: bytes | bytearray | None) -> str:
    """Decode what a program said."""
    return (raw or b"").decode("utf-8", errors="replace").replace("\r\n", "\n")
