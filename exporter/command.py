"""The border of every command: one line for an error, an exit status, and streams that hold.

sys.exit(run("sam-export", lambda: parser().parse_args(), work))
"""

from __future__ import annotations

import argparse
import errno
import sys
import traceback
from collections.abc import Callable

from exporter.child import require_folder
from exporter.errors import RequestError, SamExportError
from exporter.printable import one_line, plain, printable
from exporter.signals import describe_end, terminable
from exporter.streams import standard_streams

Arguments = argparse.Namespace

FAILED, WRONG = 1, 2
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EIO})
"""Errors of the machine, not of the request."""


def run(
    program: str,
    parse: Callable[[], Arguments],
    work: Callable[[Arguments], int],
    *,
    stopped: Callable[[str, Arguments], str] = lambda word, arguments: word,
) -> int:
    """Parse, work, print; returns the exit status.

    Args:
        program: its name, which begins every line on stderr.
        parse: gives the arguments; `--debug` among them asks for tracebacks.
        work: gives the exit status of its work.
        stopped: makes the line of "interrupted" or "terminated".

    Raises:
        SystemExit: by argparse, after --help, --version or a wrong argument.
    """
    arguments = Arguments()
    with standard_streams():
        try:
            with terminable():
                arguments = _parsed(parse)
                status = work(arguments)
                sys.stdout.flush()
            return status
        except KeyboardInterrupt as end:
            word, status = describe_end(end)
            line = stopped(word, arguments)
        except Exception as error:  # noqa: BLE001 - the last border: one line, no traceback
            if getattr(arguments, "debug", False):
                sys.stderr.write(plain(traceback.format_exc()))
            said, status = explain(error)
            line = f"error: {said}"
        sys.stderr.write(f"{program}: {one_line(line)}\n")
        return status


def _parsed(parse: Callable[[], Arguments]) -> Arguments:
    try:
        return parse()
    except SystemExit:
        sys.stdout.flush()  # the text of --help; an error here has a line of its own
        raise


def explain(error: Exception) -> tuple[str, int]:
    """Put an error into one line for a user, and choose the exit status.

    What the request or a file can bring about is said as that (2), and what the machine is short of
    (1). Anything else is a fault of ours.
    """
    if isinstance(error, SamExportError):
        return one_line(error), error.exit_status
    if isinstance(error, MemoryError):
        return "out of memory; close something, or take a smaller variant or picture", FAILED
    if isinstance(error, RecursionError):
        return "something in the files given is nested too deeply", WRONG
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error)
    if isinstance(error, UnicodeError):
        return f"a name or a text given is not Unicode: {one_line(error)}", WRONG
    name = type(error).__name__
    return f"{name}: {one_line(error)} (a bug; run again with --debug and report it)", FAILED


def _of_system(error: OSError) -> tuple[str, int]:
    reason = printable(error.strerror or type(error).__name__)
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    what = " and ".join(map(printable, named))
    if error.errno in _FULL:
        return f"no space left{f' for {what}' if what else ''}: free some", FAILED
    if error.errno in _SHORTAGE:
        return f"{f'{what}: ' if what else ''}{reason}", FAILED
    if what:
        return f"cannot use {what}: {reason}", WRONG
    try:
        require_folder()
    except RequestError as gone:
        return str(gone), WRONG
    return f"the system says: {reason} (--debug shows where)", WRONG
