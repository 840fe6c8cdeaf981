"""A process on a device: how it is started, and how it ended."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.errors import RunnerError
from runtimes.remote.report import RunnerReport, parse_report

TIMED_OUT, KILLED, SEGFAULT = 124, 137, 139


@dataclass(frozen=True)
class Answer:
    """The result of a command on the device.

    Attributes:
        status: its exit code; 124 if `timeout` ended it.
        files: of `Way.pulls`, if they exist.
    """

    status: int
    stdout: str
    stderr: str
    files: Mapping[str, bytes] = field(default_factory=dict)


def start_command(
    folder: str, program: str, *, prefix: str = "", libraries: str = "", stale: str = ""
) -> str:
    """Make a shell command that becomes `program`, in `folder` and with a clean environment.

    A library that the vendor's LD_PRELOAD names would be loaded into the runner too.

    Args:
        folder: absolute, on the device.
        program: with its arguments, quoted.
        prefix: what to start it with.
        libraries: for LD_LIBRARY_PATH.
        stale: a file of an earlier run that must not be taken for this one's.
    """
    place = shlex.quote(folder)
    path = f" LD_LIBRARY_PATH={shlex.quote(libraries)}" if libraries else ""
    remove = f"rm -f {shlex.quote(stale)} && " if stale else ""
    return (
        f"cd {place} && {remove}unset LD_PRELOAD LD_LIBRARY_PATH && "
        f"export ORT_DISABLE_TELEMETRY=1 TMPDIR={place} HOME={place}{path} && "
        f"exec {f'{prefix} ' if prefix else ''}{program}"
    )


def read_runner(answer: Answer) -> RunnerReport:
    """Parse the C runner's report. RunnerError says how it ended if there is none."""
    if answer.status == 0 or answer.stdout.strip():
        if answer.status in (TIMED_OUT, KILLED):
            raise RunnerError(describe_ending(answer))
        return parse_report(answer.stdout)
    raise RunnerError(describe_ending(answer))


def describe_ending(answer: Answer) -> str:
    """Describe how a program on the device ended, with its last words."""
    how = {
        TIMED_OUT: "the runner did not end in time and was stopped",
        KILLED: "the system killed the runner (out of memory?)",
        SEGFAULT: "the runner crashed (segmentation fault)",
    }.get(answer.status, f"the runner ended with exit code {answer.status} and no answer")
    lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    return f"{how}; its last words: {lines[-1][:200]!r}" if lines else how
