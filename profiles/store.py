"""Profiles on disk: one JSON line each, appended and never rewritten (but by `rewriting`).

A claim and a lock keep writers apart, on one machine and on several. A damaged line costs itself
alone: reading tells of it and goes on; the next append moves it to `STORE.torn` (blanks take its
place), so nothing is lost. Lines of another release are told of and stay.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from exporter.bundle.claim import claim
from exporter.errors import ExportError, RequestError, SamExportError
from exporter.locks import BINARY, lock
from exporter.printable import one_line, printable
from exporter.progress import Progress, silent
from profiles.lines import Line, lines_of
from profiles.schema import Profile, parse_id, parse_profile

T = TypeVar("T")
DEFAULT = Path("profiles.jsonl")
"""In the current folder, as bundles are: what a project measured stays with the project."""
_MOST_TOLD = 3
_NO_STORE = 1000
"""So many lines that are no profiles, and none before that is one, are another file."""
_ASKED_WRONGLY = frozenset(
    getattr(errno, name)
    for name in ("EISDIR", "ENOTDIR", "EACCES", "EPERM", "EROFS", "ENOENT", "ENAMETOOLONG")
) | {errno.ELOOP, errno.EEXIST}
"""What is wrong with the --store that was given; anything else is the disk's fault."""


@dataclass(frozen=True)
class Store:
    """A file of profiles; it need not exist yet."""

    path: Path = DEFAULT

    def read(self, report: Progress = silent) -> tuple[Profile, ...]:
        """Read every profile, the oldest first.

        Args:
            report: told of each line that was left out, and why.

        Raises:
            RequestError: the file is not there, or no line of it is a profile (the first reason).
        """
        return tuple(self._parsed(parse_profile, report))

    def ids(self) -> frozenset[str]:
        """Read the id of every profile; none if there is no store yet.

        Raises:
            RequestError: the file is no store (the first reason).
        """
        if not self.path.exists():
            return frozenset()
        return frozenset(self._parsed(parse_id, silent))

    def append(self, profile: Profile, report: Progress = silent) -> None:
        """Write one line and wait until it is on the disk.

        Raises:
            RequestError: the file is no store, or cannot be one.
            ExportError: it could not be written; then the store is as it was.
        """
        with self.writing(report) as descriptor:
            write_whole(descriptor, profile.to_line().encode())

    @contextmanager
    def writing(self, report: Progress = silent) -> Iterator[int]:
        """Open a descriptor that appends, alone, to a file of whole lines.

        Raises:
            RequestError: the file is no store, or cannot be one.
            ExportError: for any other OSError, what to do about it.
        """

        def waiting(holder: str) -> None:
            report(f"{self.path} is being written by {holder}: waiting")

        try:
            with claim(self.path, waiting), _locked(self.path) as descriptor:
                self._set_aside(descriptor, report)
                yield descriptor
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _parsed(self, parse: Callable[[str, str], T], report: Progress) -> list[T]:
        """Parse every line; one that `parse` refuses is reported and left out."""
        good, bad = list[T](), _Bad(self.path)
        with self._opened() as stream:
            for line in lines_of(stream):
                where = self._where(line)
                try:
                    good.append(parse(line.text(where), where))
                except RequestError as error:
                    bad.add(line, one_line(error), alone=not good)
        bad.demand_a_store(alone=not good)
        bad.tell(report, "; this line was left out", "is torn and was left out")
        return good

    def _where(self, line: Line) -> str:
        return f"{printable(str(self.path), 500)} line {line.number}"

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Open the file while nobody writes to it."""
        try:
            stream = self.path.open("rb")
        except FileNotFoundError:
            raise RequestError(
                f"there is no store {self.path}: measure something with sam-bench, or give --store"
            ) from None
        except OSError as error:
            raise RequestError(f"{self.path} cannot be read: {error.strerror}") from None
        with stream:
            mode = os.fstat(stream.fileno()).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                raise RequestError(f"{self.path} is a device, not a file of profiles")
            lock(stream.fileno(), shared=True)
            yield stream

    def _set_aside(self, descriptor: int, report: Progress) -> None:
        """Move damaged lines to STORE.torn, so that the file ends with a whole line.

        A last line without its newline gets it.
        """
        bad, good, last = _Bad(self.path), 0, None
        with self.path.open("rb") as stream:
            for line in lines_of(stream):
                last = line
                if line.is_object():
                    good += 1
                else:
                    bad.add(line, f"{self._where(line)} is not JSON", alone=not good)
            bad.demand_a_store(alone=not good)
            if bad.lines:
                aside = self.path.with_name(f"{self.path.name}.torn")
                _copy(stream, bad.lines, aside)
                _blank(self.path, descriptor, bad.lines)
                moved = f"was moved to {aside.name}"
                bad.tell(report, f" and {moved}", moved)
        if last is not None and not last.ended and not bad.holds(last):
            write_whole(descriptor, b"\n")


class _Bad:
    """The lines of a file that are no profiles."""

    def __init__(self, path: Path) -> None:
        self.lines: list[Line] = []
        self._path = path
        self._told: list[str] = []
        self._wrong = ""

    def add(self, line: Line, reason: str, *, alone: bool) -> None:
        """Take a line; a file of so many, and nothing else, is read no further.

        Args:
            line: kept without its bytes.
            reason: why, with its place.
            alone: whether no line before was good.
        """
        self.lines.append(replace(line, data=b""))
        if not line.torn and not line.zeros:
            self._wrong = self._wrong or reason
        if len(self._told) < _MOST_TOLD:
            self._told.append("" if line.torn else reason)
        if len(self.lines) == _NO_STORE:
            self.demand_a_store(alone=alone)

    def demand_a_store(self, *, alone: bool) -> None:
        """RequestError for a file of somebody else's; a torn first line is one of ours."""
        if alone and self._wrong:
            raise RequestError(self._wrong)

    def holds(self, line: Line) -> bool:
        """Tell whether the last line is one of these."""
        return bool(self.lines) and self.lines[-1].number == line.number

    def tell(self, report: Progress, each: str, torn: str) -> None:
        """Tell of the first few, and how many more there are.

        Args:
            report: told.
            each: what became of a line, after the reason.
            torn: what became of a torn last line.
        """
        # Reasons are kept of the first few alone.
        for line, reason in zip(self.lines, self._told, strict=False):
            last = f"{self._path}: the last line ({line.size} bytes) {torn}"
            report(f"{reason}{each}" if reason else last)
        if len(self.lines) > _MOST_TOLD:
            report(f"{self._path}: {len(self.lines) - _MOST_TOLD} more lines likewise")


def _copy(stream: BinaryIO, lines: Sequence[Line], aside: Path) -> None:
    """Append lines to a file and wait until they are on the disk."""
    descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o644)
    try:
        for line in lines:
            stream.seek(line.start)
            write_whole(descriptor, stream.read(line.size).removesuffix(b"\n") + b"\n")
    except OSError as error:
        error.filename = str(aside)
        raise
    finally:
        os.close(descriptor)


def _blank(path: Path, descriptor: int, lines: Sequence[Line]) -> None:
    """Put blanks in the place of lines; a last one is cut off."""
    # Not by `descriptor`: it appends, wherever it is told to write.
    with path.open("r+b") as stream:
        for line in lines:
            if line.ended:
                stream.seek(line.start)
                stream.write(b" " * (line.size - 1))
        stream.flush()
        os.fsync(stream.fileno())
    if not lines[-1].ended:
        os.ftruncate(descriptor, lines[-1].start)


def unwritable(path: Path, error: OSError) -> SamExportError:
    """Make the error for a store or journal that cannot be written; it names the file."""
    where = error.filename if isinstance(error.filename, str) else path
    what = f"cannot write {where} ({error.strerror})"
    if error.errno in _ASKED_WRONGLY:
        return RequestError(f"{what}: choose another --store")
    return ExportError(
        f"{what}: free some space or choose another --store, then run the same command again"
    )


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open a descriptor that appends to `path`, alone; the file's name reaches the disk too."""
    existed, descriptor = path.exists(), -1
    while descriptor < 0:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o644)
        lock(descriptor)
        if not _is_file(path, descriptor):  # it was rewritten while we waited
            os.close(descriptor)
            descriptor = -1
    try:
        yield descriptor
        if not existed:
            sync_folder(path.parent)
    finally:
        os.close(descriptor)


def _is_file(path: Path, descriptor: int) -> bool:
    """Tell whether `path` is still the name of the open file."""
    ours = os.fstat(descriptor)
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk; Windows opens no folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(descriptor: int, line: bytes) -> None:
    """Append all of `line` and wait until it is on the disk; after an OSError it is not there."""
    size = os.fstat(descriptor).st_size
    try:
        left = memoryview(line)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise
