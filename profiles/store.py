"""Profiles on disk: one JSON line each, appended and never rewritten.

A lock keeps writers apart. A line that a crash or a full disk tore off at the end is told of and
left out when the store is read; the next append moves it to `STORE.torn`, so nothing is lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import ExportError, RequestError
from exporter.locks import BINARY, lock
from exporter.progress import Progress, silent
from profiles.schema import Profile, parse_id, parse_profile

DEFAULT = Path("profiles.jsonl")
"""In the current folder, as bundles are: what a project measured stays with the project."""


@dataclass(frozen=True)
class Store:
    """A file of profiles; it need not exist yet."""

    path: Path = DEFAULT

    def read(self, report: Progress = silent) -> tuple[Profile, ...]:
        """Every profile, the oldest first.

        Args:
            report: told of a torn last line.

        Raises:
            RequestError: the file is not there, or a line is no profile (which, and why).
        """
        return tuple(parse_profile(line, where) for line, where in self._lines(report))

    def ids(self) -> frozenset[str]:
        """The id of every profile; none where there is no store yet.

        Raises:
            RequestError: a line is none of a store (which, and why).
        """
        if not self.path.exists():
            return frozenset()
        return frozenset(parse_id(line, where) for line, where in self._lines(silent))

    def append(self, profile: Profile, report: Progress = silent) -> None:
        """Write one line and wait until it is on the disk.

        Raises:
            ExportError: it could not be written; then the store is as it was.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.path) as descriptor:
                self._set_torn_aside(descriptor, report)
                write_whole(descriptor, profile.to_line().encode())
        except OSError as error:
            raise ExportError(
                f"cannot write {self.path} ({error.strerror}): free some space or choose another "
                "--store, then run the same command again"
            ) from error

    def _lines(self, report: Progress) -> Iterator[tuple[str, str]]:
        """Every whole line that is not empty, and where it is."""
        lines, torn = split_lines(self._bytes())
        if torn:
            report(f"{self.path}: the last line ({len(torn)} bytes) is torn and was left out")
        for number, line in enumerate(lines, 1):
            if line.strip():
                where = f"{self.path} line {number}"
                yield _text(line, where), where

    def _bytes(self) -> bytes:
        try:
            with self.path.open("rb") as stream:
                lock(stream.fileno(), shared=True)
                return stream.read()
        except FileNotFoundError:
            raise RequestError(
                f"there is no store {self.path}: measure something with sam-bench, or give --store"
            ) from None
        except OSError as error:
            raise RequestError(f"{self.path} cannot be read: {error.strerror}") from None

    def _set_torn_aside(self, descriptor: int, report: Progress) -> None:
        """End the file with a whole line. A last line that only lacks its newline gets it."""
        lines, torn = split_lines(self.path.read_bytes())
        size = os.fstat(descriptor).st_size
        if torn:
            aside = self.path.with_name(f"{self.path.name}.torn")
            with aside.open("ab") as stream:
                stream.write(torn + b"\n")
            os.ftruncate(descriptor, size - len(torn))
            report(f"{self.path}: a torn last line was moved to {aside.name}")
        elif size and not lines[-1].endswith(b"\n"):
            write_whole(descriptor, b"\n")


def split_lines(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole lines, and what is left of a torn last one.

    A last line without a newline is whole if it is JSON.
    """
    lines = data.splitlines(keepends=True)
    if not lines or lines[-1].endswith(b"\n"):
        return lines, b""
    try:
        json.loads(lines[-1])
    except ValueError:
        return lines[:-1], lines[-1]
    return lines, b""


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """A descriptor that appends to `path`, alone; the file's name is on the disk as well."""
    existed = path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o644)
    try:
        lock(descriptor)
        yield descriptor
        if not existed:
            _sync_folder(path.parent)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
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


def _text(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise RequestError(f"{where} is not UTF-8") from None
