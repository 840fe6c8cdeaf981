"""Run a Python module in a process of its own: JSON in, JSON out, errors with their class.

    parent  answer = call(["runtimes.host_run"], job, what="timing x")
    child   sys.exit(serve(work))       work: the parent's JSON -> the answer

The answer is the last line of stdout, so a toolkit's own output before it does no harm. If the
child fails, that line is `{"error": CLASS, "message": TEXT}` and the exit status is the error's.
Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from exporter.errors import ExportError, RequestError, SamExportError

_MOST = 2**28
"""Bytes of a child's output: toolkits are talkative."""
_CRASHED = 0xC0000000
"""Windows' exit statuses from here on say how a process crashed."""


def call(
    command: Sequence[str],
    given: object = None,
    *,
    what: str,
    deadline: float | None = None,
    advice: str = "",
    failure: type[ExportError] = ExportError,
) -> Any:
    """Run `python -m COMMAND`; Ctrl-C ends it with us.

    Args:
        command: a module that answers by `serve`, and its arguments.
        given: JSON for its stdin.
        what: the work, for messages.
        deadline: seconds; None for no limit.
        advice: for the message if the deadline passes.
        failure: raised if the process gives no answer.

    Raises:
        RequestError: the current folder was removed.
        SamExportError: the child's own error, with its class and message.
        failure: it missed the deadline, was ended by a signal, or failed by a bug.
    """
    import subprocess  # not for those who only list
    import tempfile

    from exporter import programs

    require_folder()
    # A child that is ended clears nothing, so what it writes for a while is in a folder of ours.
    files = tempfile.TemporaryDirectory(prefix="sam-export-", ignore_cleanup_errors=True)
    try:
        with files:
            ran = programs.run(
                [sys.executable, "-m", *command],
                json.dumps(given),
                deadline=deadline,
                most=_MOST,
                environment=_environment(files.name),
            )
    except subprocess.TimeoutExpired:
        hint = f": {advice}" if advice else ""
        raise failure(f"{what} was not done after {deadline:g} s{hint}") from None
    if ran.code < 0:
        raise failure(f"{what} was ended by {_signal(-ran.code)}")
    if ran.code >= _CRASHED:
        raise failure(f"{what} crashed (Windows' status {ran.code:#x})")
    answer = _last_line(ran.out)
    if ran.code == 0 and answer is not None:
        return answer
    if isinstance(answer, dict) and answer.keys() == {"error", "message"}:
        raise _error(answer["error"], answer["message"], what, failure)
    lines = [line for line in ran.err.splitlines() if line.strip()]
    said = lines[-1] if lines else f"it ended with exit status {ran.code} and no answer"
    raise failure(f"{what} failed: {said}")


def require_folder() -> None:
    """RequestError if the current folder was removed: no toolkit starts in one."""
    try:
        Path.cwd()
    except OSError:
        raise RequestError("the current folder was removed: change to another one") from None


def serve(work: Callable[[Any], object]) -> int:
    """In the child: call `work` with stdin's JSON, print its answer, return the exit status."""
    leave_no_core()
    try:
        print_line(work(json.load(sys.stdin)))
    except SamExportError as error:
        return refuse(error)
    return 0


def leave_no_core() -> None:
    """In the child: a toolkit that aborts leaves no memory image in the user's folder."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def refuse(error: SamExportError) -> int:
    """In the child: print an error for the parent, return its exit status."""
    print_line({"error": type(error).__name__, "message": str(error)})
    return error.exit_status


def print_line(value: object) -> None:
    """Print one line of JSON, the child's last line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _environment(files: str) -> dict[str, str]:
    """Environment that lets the child import from the same places as this process.

    Args:
        files: folder for its temporary files.
    """
    path = os.pathsep.join(place for place in sys.path if place)
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), files)
    return {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONPATH": path, **temporary}


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name}: not enough memory?" if name == "SIGKILL" else name


def _last_line(text: str) -> Any:
    lines = text.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        return None


def _error(name: str, message: str, what: str, failure: type[ExportError]) -> SamExportError:
    kind = next((each for each in _family(SamExportError) if each.__name__ == name), None)
    if kind is None:
        return failure(f"{what} failed: {name}: {message}")
    error = kind.__new__(kind)
    Exception.__init__(error, message)  # some constructors take more than the finished message
    return error


def _family(kind: type[SamExportError]) -> Iterator[type[SamExportError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _family(each)
