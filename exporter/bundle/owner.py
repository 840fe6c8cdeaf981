"""The holder of a claim, as its lock file tells it, and whether it still lives."""

from __future__ import annotations

import datetime
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from exporter.printable import printable

WINDOWS = os.name == "nt"
STALE_S = 180.0
"""Seconds without a sign of life after which a holder that cannot be asked counts as dead."""
HELD: set[str] = set()
"""Tokens of this process's own claims."""


@dataclass(frozen=True)
class Owner:
    """What a lock file says of its holder.

    Attributes:
        token: unguessable; a claim is ours while its file holds ours.
        machine: the kernel's boot id, or the host's name on systems without one.
        namespace: of process numbers; containers have one each.
        pid: in that namespace.
        started: the process's start, in the kernel's ticks; a number that is used again differs.
        since: UTC, when the claim was made.
        locked: whether it holds the file's `flock`.
    """

    token: str
    host: str
    machine: str
    namespace: str
    pid: int
    started: str
    since: str
    locked: bool

    def __str__(self) -> str:
        return f"process {self.pid} on {printable(self.host, 80)} since {printable(self.since, 40)}"


def is_dead(owner: Owner | None, age: float, *, free: bool | None) -> bool:
    """Tell whether nobody holds a lock any more.

    Args:
        owner: None if the file does not say.
        age: seconds since its last sign of life.
        free: whether its `flock` could be had; None if the file system has none.
    """
    if owner is None:
        return free is not False and age > STALE_S
    if owner.machine == _machine():
        if free and owner.locked:
            return True
        if owner.namespace == _namespace() and (runs := _runs(owner)) is not None:
            return not runs
    return free is not False and age > STALE_S


def _runs(owner: Owner) -> bool | None:
    """Tell whether a process of our namespace still runs; None if this system cannot tell."""
    if owner.pid == os.getpid() and owner.started == _started("self"):
        return owner.token in HELD
    if WINDOWS:  # there os.kill ends processes
        return None
    try:
        os.kill(owner.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's
    started = _started(str(owner.pid)) if _proc_is_ours() else ""
    return not started or started == owner.started


def _proc_is_ours() -> bool:
    """Tell whether /proc counts processes as we do; after a plain `unshare --pid` it does not."""
    try:
        return Path("/proc/self").readlink().name == str(os.getpid())
    except OSError:
        return False


def _started(pid: str) -> str:
    """When a process began, in ticks since the start of the system; empty if not told."""
    try:
        # The name in parentheses may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return f"ended ({fields[0]})" if fields[0] in "ZX" else fields[19]


def ourselves(token: str, *, locked: bool) -> Owner:
    """Describe this process as a holder."""
    since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    host, pid = platform.node() or "an unnamed host", os.getpid()
    return Owner(token, host, _machine(), _namespace(), pid, _started("self"), since, locked)


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return platform.node()


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def parse_owner(data: bytes) -> Owner | None:
    """Read a lock file; None if it is not one of ours, or not yet written."""
    try:
        owner = Owner(**json.loads(data))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (owner.token, owner.host, owner.machine, owner.namespace, owner.started, owner.since)
    right = all(type(text) is str for text in texts) and type(owner.pid) is int and owner.pid > 0
    return owner if right and type(owner.locked) is bool else None
