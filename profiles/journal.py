"""What an interrupted measurement has done already: `STORE.partial/KEY.jsonl`.

KEY is a hash of what makes a repeat the same work: the bundle's manifest, the device (its name,
model, chip and build), the method, the label and our version. The first line says when the
measurement began, the next what parity gave, every further one is a repeat. Running the same
command again goes on behind the last whole line. After `EXPIRY_HOURS` the device
is no longer as it was, and the file is dropped. It is deleted when its profile is in the store.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import secrets
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exporter.bundle.claim import claim
from exporter.bundle.manifest import Figure
from exporter.errors import RequestError
from exporter.locks import BINARY
from exporter.printable import one_line
from exporter.progress import Progress
from profiles.schema import BundleFacts, Repeat, parse_as, parse_json, parse_moment, to_json, tools
from profiles.store import unwritable, write_whole
from runtimes.device import DeviceFacts, Method

EXPIRY_HOURS = 24.0
SUFFIX = ".partial"


@dataclass(frozen=True)
class Work:
    """What is measured, on what, and how."""

    bundle: BundleFacts
    device: DeviceFacts
    method: Method
    label: str

    def key(self) -> str:
        """See the head of this file."""
        device = self.device
        same = [
            self.bundle.sha256,
            [device.device, device.model, device.soc, device.build],
            asdict(self.method),
            self.label,
            tools()["sam-export"],
        ]
        return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Head:
    """The first line: the profile's `id` and `created`."""

    id: str
    created: str


class Journal:
    """An open and locked journal.

    Attributes:
        head: of the profile to be.
        parity: None before it was measured.
        repeats: done so far.
    """

    def __init__(self, path: Path, descriptor: int, head: Head) -> None:
        self.head = head
        self.parity: tuple[Figure, ...] | None = None
        self.repeats: list[Repeat] = []
        self._path = path
        self._descriptor = descriptor

    def checked(self, figures: tuple[Figure, ...]) -> None:
        """Keep what parity gave."""
        self.parity = figures
        self._append({"parity": figures})

    def add(self, repeat: Repeat) -> None:
        """Keep a repeat; it is on the disk when this returns."""
        self.repeats.append(repeat)
        self._append({"repeat": repeat})

    def begin(self) -> None:
        """Write the first line."""
        self._append({"begin": self.head})

    def finish(self) -> None:
        """Forget it: the profile is in the store."""
        try:
            self._path.unlink(missing_ok=True)
        except PermissionError:  # Windows deletes no open file; an empty journal is none
            os.ftruncate(self._descriptor, 0)

    def _append(self, data: dict[str, Any]) -> None:
        try:
            write_whole(self._descriptor, (to_json(data) + "\n").encode())
        except OSError as error:
            raise unwritable(self._path, error) from error


def folder_of(store: Path) -> Path:
    """Return where the journals of a store are."""
    return store.with_name(store.name + SUFFIX)


@contextmanager
def open_journal(
    store: Path, work: Work, taken: Container[str], report: Progress
) -> Iterator[Journal]:
    """Open the journal of `work`: a new one, or the one an interrupted run left.

    Args:
        store: the profiles' file.
        work: what will be measured.
        taken: ids in the store; a journal of one of them was only not deleted any more.
        report: told what is taken over, or dropped and why.

    Raises:
        RequestError: another process is measuring the same, or the folder cannot be written.
        ExportError: the disk is full.
    """
    path = folder_of(store) / f"{work.key()}.jsonl"
    with ExitStack() as stack:
        try:
            stack.callback(_remove_if_empty, path.parent)
            stack.enter_context(claim(path, _taken))
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o644)
            stack.callback(os.close, descriptor)
            journal = _taken_over(path, descriptor, taken, report)
            if journal is None:
                os.ftruncate(descriptor, 0)
                now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                journal = Journal(path, descriptor, Head(secrets.token_hex(5), now))
                journal.begin()
        except OSError as error:
            raise unwritable(path, error) from None
        try:
            yield journal
        finally:
            if journal.parity is None and not journal.repeats:
                journal.finish()  # nothing was done that could be gone on with


def _taken(holder: str) -> RequestError:
    return RequestError(
        f"another sam-bench measures this bundle on this device now ({holder}): wait for it, or "
        "give a --label of its own"
    )


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # other journals are there
        folder.rmdir()


def _taken_over(
    path: Path, descriptor: int, taken: Container[str], report: Progress
) -> Journal | None:
    """Read what an earlier run left; None if it cannot be gone on with."""
    lines, torn = _split_lines(path.read_bytes())
    if not lines:
        return None
    if torn:
        os.ftruncate(descriptor, sum(map(len, lines)))
    try:
        journal = _parsed(path, descriptor, [line.decode() for line in lines])
        age = datetime.datetime.now(datetime.UTC) - parse_moment(journal.head.created, str(path))
    except (RequestError, UnicodeDecodeError) as error:
        report(f"an interrupted measurement cannot be gone on with: {one_line(error)}")
        return None
    if journal.head.id in taken:
        return None
    if age > datetime.timedelta(hours=EXPIRY_HOURS):
        report(f"an interrupted measurement of {journal.head.created} is too old to go on with")
        return None
    return journal


def _split_lines(data: bytes) -> tuple[list[bytes], bytes]:
    """Split into whole lines and the rest of a torn last one.

    A last line without a newline is whole if it is JSON.
    """
    lines = data.splitlines(keepends=True)
    if not lines or lines[-1].endswith(b"\n"):
        return lines, b""
    try:
        json.loads(lines[-1])
    except (ValueError, RecursionError):
        return lines[:-1], lines[-1]
    return lines, b""


def _parsed(path: Path, descriptor: int, lines: list[str]) -> Journal:
    """RequestError where the first line or any other is not what we write."""
    journal: Journal | None = None
    for number, line in enumerate(lines, 1):
        where = f"{path} line {number}"
        data = parse_json(line, where)
        kind = next(iter(data)) if isinstance(data, dict) and len(data) == 1 else ""
        if kind == "begin":
            journal = Journal(path, descriptor, parse_as(Head, data[kind], where))
        elif kind == "parity" and journal is not None:
            journal.parity = tuple(parse_as(Figure, figure, where) for figure in data[kind])
        elif kind == "repeat" and journal is not None:
            journal.repeats.append(parse_as(Repeat, data[kind], where))
        else:
            raise RequestError(f"{where} is no line of a journal")
    if journal is None:
        raise RequestError(f"{path} is empty")
    return journal
