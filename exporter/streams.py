"""The standard streams, whatever is behind them: a pipe, a full disk, nothing, an old console.

* A reader that has enough (`| head`) stops nothing: the rest is dropped, and the command ends with
  the status of its work. So does a stream that was closed before we started.
* A letter that the console's encoding does not have is escaped (`\\xd7`), never an error.
* A control character in what is written (of a file's text in a traceback) is escaped, too.
* stdout on a full disk is an error that names it. stderr there is dropped: nobody could be told.

Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from exporter.errors import ExportError
from exporter.printable import plain

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

UNREAD = frozenset({errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET, errno.EBADF, errno.EIO})
"""Errors of a stream whose other end is gone: a pipe, a socket, nothing at all, a terminal."""
STDIN, STDOUT, STDERR = 0, 1, 2
FULL_PIPE_SECONDS = 0.01


class _Text(io.TextIOWrapper):
    """Text for a reader: no control character gets through, whoever wrote the line."""

    def write(self, text: str) -> int:
        """Write the text, what is not printable in it escaped, line ends aside."""
        super().write(plain(text))
        return len(text)


class _Raw(io.FileIO):
    """A stream's descriptor, which drops what cannot be written."""

    dropping = False

    def write(self, data: ReadableBuffer) -> int:
        """Write all bytes. ExportError if this is stdout and its disk is full."""
        rest = memoryview(data).cast("B")
        while rest and not self.dropping:
            try:
                written = super().write(rest)
                if written is None:  # a pipe that does not wait, and is full
                    time.sleep(FULL_PIPE_SECONDS)
                rest = rest[written or 0 :]
            except OSError as error:
                self.dropping = True
                if self.fileno() == STDOUT and not _unread(error):
                    where = _name(self.fileno())
                    raise ExportError(f"cannot write to stdout{where}: {error.strerror}") from None
        return memoryview(data).nbytes


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Let `sys.stdout` and `sys.stderr` behave as the head of this file says, in the block.

    Both are flushed at its end, so nothing is left that could fail when the process ends.
    """
    _open_closed()
    before = sys.stdout, sys.stderr
    sys.stdout = _tolerant(sys.stdout, STDOUT)
    sys.stderr = _tolerant(sys.stderr, STDERR)
    try:
        yield
    finally:
        made = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = before
        for stream in made:
            with contextlib.suppress(ExportError, OSError, ValueError):
                stream.flush()


def copy_of_stderr() -> TextIO:
    """Copy the stream to where stderr goes now; it stays there if the descriptor is redirected."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # replaced by something that is no file
        return sys.stderr
    return _text(_Raw(descriptor, "w"), sys.stderr)


def _open_closed() -> None:
    """Connect what the caller closed (`>&-`) to nothing.

    Else the next file that is opened gets that number, and what is printed goes into it.
    """
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(STDOUT, "w", closefd=False), encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(STDERR, "w", closefd=False), encoding="utf-8")


def _tolerant(stream: TextIO, number: int) -> TextIO:
    """Give the stream a raw end of ours; leave it if it is none of the process's own."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is nothing in between
    if type(raw) is io.FileIO and raw.fileno() == number:
        with contextlib.suppress(OSError):
            stream.flush()
        return _text(_Raw(number, "w", closefd=False), stream)
    if isinstance(stream, io.TextIOWrapper):  # a Windows console
        stream.reconfigure(errors=_errors(stream))
    return stream


def _text(raw: _Raw, like: TextIO) -> TextIO:
    """Text onto `raw`; a line at a time on stderr and terminals, and if asked for.

    Then nothing is buffered: a signal between a write and the buffer's note of it would have the
    line written twice.
    """
    lines = raw.isatty() or raw.fileno() != STDOUT or bool(os.environ.get("PYTHONUNBUFFERED"))
    encoding = getattr(like, "encoding", None) or "utf-8"
    below = raw if lines else io.BufferedWriter(raw)
    return _Text(below, encoding=encoding, errors=_errors(like), write_through=lines)


def _errors(stream: TextIO) -> str:
    """Choose how letters outside the encoding are written: as asked for, else escaped."""
    asked = getattr(stream, "errors", None) or "strict"
    return "backslashreplace" if asked in ("strict", "surrogateescape") else asked


def _unread(error: OSError) -> bool:
    # Windows says EINVAL of a pipe that nobody reads.
    return error.errno in UNREAD or (sys.platform == "win32" and error.errno == errno.EINVAL)


def _name(number: int) -> str:
    """` (PATH)` of the file behind a descriptor, where the system tells."""
    try:
        path = str(Path(f"/proc/self/fd/{number}").readlink())
    except OSError:
        return ""
    return f" ({path})" if path.startswith("/") else ""
