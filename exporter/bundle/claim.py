"""Claims: one process at a time makes a file or a folder, on whatever machines they run.

A claim on `NAME` is the file `.NAME.lock` beside it. It appears whole, by a hard link that fails if
the name exists, and says who holds it. Containers share folders but neither process numbers nor
host names, so nothing about the holder is guessed from its number alone. It lives if

- its `flock` is still held: the kernel lets go of it however a process ends;
- else, in our own process namespace, if its process runs (by number and start time);
- else (another host, no `flock`, Windows), if it touched its file in the last STALE_S seconds.

A dead holder's file is moved away and deleted. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from exporter.bundle.owner import HELD, STALE_S, is_dead, ourselves, parse_owner
from exporter.errors import SamExportError
from exporter.signals import uninterrupted

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BEAT_S = 15.0
"""Seconds between a holder's signs of life."""
PATIENCE_S = 0.3
_LONGEST_WAIT_S = 1.0
_ATTEMPTS = 5
_MOST_BYTES = 4096


_UNKNOWN = "a process that has not said who it is"


@dataclass
class Claim:
    """A claim that this process holds, or held.

    Attributes:
        path: what is claimed.
    """

    path: Path

    def __post_init__(self) -> None:
        self.lock = lock_of(self.path)
        self._token = secrets.token_hex(8)
        self._descriptor: int | None = None
        self._pid = 0
        self._stop = threading.Event()

    def held(self) -> bool:
        """Tell whether it is still ours: a holder that slept too long loses it."""
        try:
            with _opened(self.lock) as descriptor:
                owner = parse_owner(os.read(descriptor, _MOST_BYTES))
        except OSError:
            return False
        return owner is not None and owner.token == self._token

    def acquire(self, patience: float = PATIENCE_S) -> str:
        """Take it, or say who holds it; empty if it is ours. OSError if it cannot be written.

        Args:
            patience: seconds that others may take to see that a lock is stale.
        """
        HELD.add(self._token)  # first: other threads take what is not in it for left over
        impatient = time.monotonic() + patience
        while True:
            now = self._create()
            if now is None:
                self._begin()
                return ""
            late = time.monotonic() >= impatient
            holder = self._look(now, late=late)
            if holder and late:
                return holder
            if holder:
                time.sleep(0.02)

    def release(self) -> None:
        """Let go of it; does nothing if it is not ours any more."""
        if self._pid == os.getpid():  # not in a forked child's copy, and not if never taken
            self._pid = 0
            self._stop.set()
            with contextlib.suppress(OSError):
                if self.held():
                    self.lock.unlink()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
        HELD.discard(self._token)

    def _create(self) -> float | None:
        """Make the lock file; if there is one, returns the file system's time instead.

        Hosts that share a folder differ in their clocks, but all see the times of its files.
        """
        temporary = self.lock.with_name(f"{self.lock.name}-{self._token}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            with _closing(descriptor) as keep:
                locked = self._write(descriptor)
                now = os.fstat(descriptor).st_mtime
                made = self._link(temporary)
                if made and locked:
                    self._descriptor = keep()
            if made is None:
                made = self._create_here()
            return None if made else now
        finally:
            temporary.unlink(missing_ok=True)

    def _link(self, temporary: Path) -> bool | None:
        """Link the lock and tell whether it is ours; None if this file system has no hard links."""
        try:
            os.link(temporary, self.lock)
        except FileExistsError:
            return False
        except OSError:
            return None
        return True

    def _create_here(self) -> bool:
        """Make the lock under its own name, where no link can be made; False if there is one."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        try:
            with _closing(descriptor) as keep:
                if self._write(descriptor):
                    self._descriptor = keep()
        except OSError:  # a full disk
            self.lock.unlink(missing_ok=True)
            raise
        return True

    def _write(self, descriptor: int) -> bool:
        """Lock the file and say in it who we are; returns whether its `flock` is held."""
        locked = _flock(descriptor) is True
        os.write(descriptor, json.dumps(asdict(ourselves(self._token, locked=locked))).encode())
        return locked

    def _begin(self) -> None:
        self._pid = os.getpid()
        threading.Thread(target=self._beat, name="claim", daemon=True).start()
        self._sweep()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            with contextlib.suppress(OSError):
                if self._descriptor is not None and os.utime in os.supports_fd:
                    os.utime(self._descriptor)
                elif self.held():
                    os.utime(self.lock)

    def _sweep(self) -> None:
        """Delete what processes left that were killed while they made a lock."""
        with contextlib.suppress(OSError):
            now = self.lock.stat().st_mtime
            for path in self.lock.parent.glob(f"{_escaped(self.lock.name)}-*"):
                if abs(now - path.stat().st_mtime) > STALE_S:
                    path.unlink()

    def _look(self, now: float, *, late: bool) -> str:
        """Who holds the lock; empty if nobody does any more.

        Args:
            now: the file system's time.
            late: whether a dead holder's lock goes even if something holds its `flock`: an orphan
                inherited it. Before, it may be another process that looks at this lock too.
        """
        try:
            with _opened(self.lock) as descriptor:
                ours = _flock(descriptor)
                status = os.fstat(descriptor)
                owner = parse_owner(os.read(descriptor, _MOST_BYTES))
                dead = is_dead(owner, abs(now - status.st_mtime), free=ours)
                if not _is_file(self.lock, status):  # last: the holder may have let go meanwhile
                    return ""
                if dead and (ours is not False or late):
                    self._remove(status)
                    return ""
        except FileNotFoundError:
            return ""
        return _UNKNOWN if owner is None else str(owner)

    def _remove(self, status: os.stat_result) -> None:
        """Remove the lock of that status; one that took its place meanwhile is put back."""
        aside = self.lock.with_name(f"{self.lock.name}-{self._token}.stale")
        self.lock.rename(aside)
        another = not _is_file(aside, status)
        if another and self._link(aside) is None and not self.lock.exists():
            aside.rename(self.lock)
        aside.unlink(missing_ok=True)


@contextmanager
def claim(path: Path, busy: Callable[[str], SamExportError | None]) -> Iterator[Claim]:
    """Hold `path` for this process until the block ends.

    Args:
        path: the file or folder to be made; its folder is made.
        busy: called once if another process holds it, told who; returns the error to raise, or None
            to wait for its end.

    Raises:
        SamExportError: the one that `busy` made.
        OSError: the folder cannot be made or written.
    """
    mine = Claim(path)
    try:
        holder = _acquire(mine, PATIENCE_S)
        if holder and (error := busy(holder)) is not None:
            raise error
        wait = 0.05
        while holder:
            time.sleep(wait)
            wait = min(_LONGEST_WAIT_S, 1.5 * wait)
            holder = _acquire(mine, 0)
        yield mine
    finally:
        with uninterrupted():
            mine.release()


def _acquire(mine: Claim, patience: float, attempts: int = _ATTEMPTS) -> str:
    try:
        mine.path.parent.mkdir(parents=True, exist_ok=True)
        with uninterrupted():
            return mine.acquire(patience)
    except FileNotFoundError:  # somebody took a folder away again that was made for nothing
        if attempts == 1:
            raise
        return _acquire(mine, patience, attempts - 1)


def lock_of(path: Path) -> Path:
    """Name the lock file of a claim on `path`; it exists as long as the claim."""
    return path.with_name(f".{path.name}.lock")


def _flock(descriptor: int) -> bool | None:
    """Try to lock a file: whether that worked; None where there are no such locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def _opened(lock: Path) -> Iterator[int]:
    """Open a plain file to read; OSError for anything else, which is never waited on."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(lock, flags)
    except OSError as error:
        raise _in_the_way(lock) if error.errno == errno.ELOOP else error from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _in_the_way(lock)
        yield descriptor
    finally:
        os.close(descriptor)


def _in_the_way(lock: Path) -> OSError:
    return OSError(errno.EEXIST, f"{lock.name} is in the way and is no lock file", str(lock))


@contextmanager
def _closing(descriptor: int) -> Iterator[Callable[[], int]]:
    """Close a descriptor after the block, unless it was asked for to be kept."""
    kept = False

    def keep() -> int:
        nonlocal kept
        kept = True
        return descriptor

    try:
        yield keep
    finally:
        if not kept:
            os.close(descriptor)


def _is_file(path: Path, status: os.stat_result) -> bool:
    try:
        found = path.stat()
        return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)
    except FileNotFoundError:
        return False


def _escaped(name: str) -> str:
    """Escape a name for a glob that means nothing but itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
