"""One process on a device: started, held to its deadline, its answer brought back."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from android_harness.adb import sections
from android_harness.adb.connection import Connection, quoted
from android_harness.adb.program import QUICK
from android_harness.errors import AdbTimeoutError
from android_harness.process import TIMED_OUT, Answer
from android_harness.state import thermal, topology
from android_harness.workspace import KILL
from exporter.errors import DeviceError, DeviceLostError, RunnerError
from runtimes.device import THROTTLED

LOG = logging.getLogger("sam_export.device")
JOB, OUT, ERR, LATE, ALL = "job.txt", "stdout.txt", "stderr.txt", "late", "all.bin"
GRACE = 30.0
"""Seconds that adb may take beyond the deadline the device itself keeps."""
_HEAT = {"thermal": f"{thermal.SCRIPT} | grep -m 1 'Thermal Status'", "cores": topology.SCRIPT}


@dataclass(frozen=True)
class RunEnd:
    """A process that ended by itself or was ended.

    Attributes:
        answer: what it printed and its exit code; 124 if the deadline ended it.
        notes: what happened to the device meanwhile: it grew hot, cores were held back.
    """

    answer: Answer
    notes: tuple[str, ...]


def run(connection: Connection, folder: str, command: str, job: str, deadline: float) -> RunEnd:
    """Run a way's command in `folder`, which exists on the device.

    Args:
        connection: to the device.
        folder: the run's.
        command: becomes the process by `exec`.
        job: the text it reads, as JOB.
        deadline: seconds; the device ends it then, and the host a little later if it does not.

    Raises:
        RunnerError: the answer is garbled, or the device does not keep the deadline.
        DeviceLostError: the device went away; what ran there has ended with the connection.
    """
    _send(connection, folder, job)
    try:
        answer = connection.shell(
            _script(folder, command, deadline), deadline + GRACE + QUICK, bare=True
        )
    except AdbTimeoutError as error:
        with suppress(DeviceError):
            connection.shell(KILL)
        raise RunnerError(f"the runner did not end, nor did the device end it: {error}") from None
    except DeviceLostError:
        raise
    except DeviceError as error:
        raise RunnerError(f"the answer of the device is cut short or garbled: {error}") from None
    return _ended(connection.serial, answer.code, sections.split(answer.out), deadline)


def fetch(connection: Connection, folder: str, names: Sequence[str]) -> dict[str, bytes]:
    """Files of the run's folder, those that exist, in one pull; removed from the device then.

    Args:
        connection: to the device.
        folder: the run's.
        names: relative to it.
    """
    if not names:
        return {}
    # As one file: adb takes as long for a small one as for a megabyte.
    script = f"""cd {folder} || exit 1
for f in {quoted(names)}; do [ ! -f $f ] || set -- "$@" $f; done
[ $# = 0 ] || {{ cat "$@" > {ALL} && stat -c '%s %n' "$@"; }}"""
    told = connection.check(script).splitlines()
    sizes = {name: int(size) for size, _, name in (line.partition(" ") for line in told)}
    content = _pulled(connection, f"{folder}/{ALL}", sum(sizes.values())) if sizes else b""
    connection.check(f"cd {folder} && rm -f {ALL} {quoted(names)}")
    if len(content) != sum(sizes.values()):
        raise DeviceError(f"{len(content)} of {sum(sizes.values())} bytes came back: try again")
    found, at = {}, 0
    for name, size in sizes.items():
        found[name] = content[at : at + size]
        at += size
    return found


def _pulled(connection: Connection, remote: str, size: int) -> bytes:
    with tempfile.TemporaryDirectory(prefix="sam-export-") as temporary:
        connection.pull([remote], Path(temporary), size)
        return (Path(temporary) / ALL).read_bytes()


def _send(connection: Connection, folder: str, job: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sam-export-") as temporary:
        path = Path(temporary) / JOB
        path.write_text(job, encoding="ascii", newline="\n")
        connection.push([path], folder)


def _script(folder: str, command: str, deadline: float) -> str:
    """Run, watch, tell; everything that it started has ended when it has.

    A lost connection sends SIGHUP to the shell alone. Android's `timeout` would leave the runner
    behind then, so the shell itself waits, and takes the runner and the watchdog along.
    """
    return f"""
cd {folder} || exit 1
{sections.script({f"{name} before": part for name, part in _HEAT.items()})}
tidy() {{ cd /; {KILL}; }}
trap 'tidy; exit 129' HUP TERM
rm -f {LATE}
( {command}
) > {OUT} 2> {ERR} < /dev/null &
runner=$!
( sleep {max(1, round(deadline))}; : > {LATE}; kill -9 $runner ) > /dev/null 2>&1 &
wait $runner
status=$?
tidy
{sections.script({f"{name} after": part for name, part in _HEAT.items()})}
{
        sections.script(
            {
                "status": "echo $status",
                "late": f"ls {folder}/{LATE}",
                "stderr": f"tail -c 4000 {folder}/{ERR}",
                "stdout": f"cat {folder}/{OUT}",
            }
        )
    }
rm -f {folder}/{OUT} {folder}/{ERR} {folder}/{LATE} {folder}/{JOB}"""


def _ended(serial: str, code: int, told: Mapping[str, str], deadline: float) -> RunEnd:
    status = told.get("status", "")
    if not status.isdigit():
        raise RunnerError(f"{serial} could not start the runner (exit status {code})")
    late = bool(told.get("late"))
    error = told.get("stderr", "")
    if late:
        error = f"{error}\nstopped after {deadline:g} s"
    answer = Answer(TIMED_OUT if late else int(status), told.get("stdout", ""), error)
    return RunEnd(answer, tuple(_changes(told)))


def _changes(told: Mapping[str, str]) -> list[str]:
    """Notes on heat: a thermal status, and cores held to a lower clock during the run."""
    notes = []
    before, after = (
        thermal.parse("HAL Ready: true\n" + told.get(f"thermal {when}", "")).status
        for when in ("before", "after")
    )
    if before is not None and after is not None and max(before.level, after.level) > 0:
        path = " -> ".join(status.word for status in (before, after))
        notes.append(f"{THROTTLED} thermal status {path}")
    held, now_held = (
        topology.parse(told.get(f"cores {when}", "")).held for when in ("before", "after")
    )
    notes += [
        f"{THROTTLED} core {number} held to {khz} kHz"
        for number, khz in sorted(now_held.items())
        if held.get(number) != khz
    ]
    return notes
