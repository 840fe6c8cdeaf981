"""Our folder on a device: files that stay for the next run, a folder for this one, nothing else.

    files/NAME       models, libraries, inputs: kept, and proved by their sha256 before each use
    incoming/SHA     what arrives; it is checked, then renamed into files/
    run-ID/          one run's: links into files/, jobs, outputs; always removed
    restore.sh       how to undo what was changed on the device (see `modes`)

A file keeps its name, and its hash is asked for, because names matter to those who open it: a
runtime looks for a model's second file beside the first, a loader for libraries beside a program.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TypeVar

from android_harness.adb.connection import Connection, quoted
from android_harness.errors import CommandError
from android_harness.state.facts import WORK, free_kb
from exporter.bundle.folder import hash_file
from exporter.errors import DeviceError
from runtimes.remote.errors import NoSpaceError

T = TypeVar("T")

LOG = logging.getLogger("sam_export.device")
FILES, INCOMING = f"{WORK}/files", f"{WORK}/incoming"
BUDGET = 4 * 2**30
"""Bytes that files/ may hold; beyond that, the longest unused file goes first."""
MARGIN = 16 * 2**20
"""Bytes to leave free: outputs and a report come on top of what is pushed."""
BIG = 16 * 2**20
"""Bytes from which a file is pushed by itself, with a line that says so."""
HASHED = 20 * 2**20
"""Bytes a second that a device hashes at the least."""
# /proc hides what is not the shell's own, so these are our processes and no others.
KILL = (
    f"ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -F ' -> {WORK}/run-'"
    " | sed -n 's|.*/proc/\\([0-9]*\\)/cwd.*|\\1|p' | while read p; do kill -9 $p 2>/dev/null; done"
)
"""Ends every process whose folder is a run's: the runner, and the watchdog of its deadline."""


@dataclass(frozen=True)
class Item:
    """A file that the device needs.

    Attributes:
        name: below files/.
        content: a file here, or the bytes themselves.
        sha256: of the content.
        executable: whether it is a program.
    """

    name: str
    content: Path | bytes
    sha256: str
    executable: bool = False

    @classmethod
    def of(cls, name: str, content: Path | bytes) -> Item:
        """Make an item whose hash is not known yet."""
        digest = sha256(content).hexdigest() if isinstance(content, bytes) else hash_file(content)
        return cls(name, content, digest)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class Stored:
    """A file below files/: its size, and when it was used last by the device's clock."""

    size: int
    used: int


@dataclass(frozen=True)
class DeviceStore:
    """files/ on one device; `device` is how a user names it, for the lines on what takes long."""

    connection: Connection
    device: str
    budget: int = BUDGET

    def ensure(self, items: Sequence[Item], keep: Iterable[str] = ()) -> int:
        """Push the files that are missing or differ; a failure leaves no half file.

        Args:
            items: what is needed.
            keep: names of files that are needed too, and are known to be right.

        Returns:
            The bytes that were pushed.

        Raises:
            NoSpaceError: the device is full; says how much is needed and how much is free.
            ReadOnlyError, DeviceLostError, DeviceError: what adb says.
        """
        wanted = {item.name: item for item in items}
        hashes, stored, free = self._look(wanted)
        missing = [item for name, item in wanted.items() if hashes.get(name) != item.sha256]
        if not missing:
            return 0
        # One name for each content: a second name for it comes in a second round.
        missing, rest = _once_each(missing)
        need = sum(item.size for item in missing)
        right = wanted.keys() - {item.name for item in missing}
        self._make_room(need, free, stored, {*right, *keep})
        try:
            self._push(missing)
        except NoSpaceError:
            raise self._full(need) from None
        finally:
            self._forget_incoming()
        return need + (self.ensure(rest, {*wanted, *keep}) if rest else 0)

    def _look(
        self, wanted: Mapping[str, Item]
    ) -> tuple[dict[str, str], dict[str, Stored], int | None]:
        """Hashes of what is wanted, all that is stored, and the free KB: one trip."""
        self.connection.check(f"mkdir -p {FILES} {INCOMING}")
        names = quoted(sorted(wanted))
        size = sum(item.size for item in wanted.values())
        parts = {
            "tool": "command -v sha256sum",
            "hashes": f"cd {FILES}; sha256sum {names}; touch -c {names}",
            "stored": f"cd {FILES}; find . -type f -exec stat -c '%s %Y %n' {{}} +",
            "space": f"df -k {WORK}",
        }
        answers = self.connection.ask(parts, deadline=30 + size / HASHED)
        if not answers.get("tool"):
            raise DeviceError(f"{self.connection.serial} has no sha256sum: use Android 8 or later")
        hashes = re.findall(r"^([0-9a-f]{64})\s+\*?(.+)$", answers.get("hashes", ""), re.MULTILINE)
        rows = re.findall(r"^(\d+) (-?\d+) \./(.+)$", answers.get("stored", ""), re.MULTILINE)
        stored = {name: Stored(int(size), int(used)) for size, used, name in rows}
        return {name: digest for digest, name in hashes}, stored, free_kb(answers.get("space", ""))

    def _make_room(
        self, need: int, free_kb: int | None, stored: Mapping[str, Stored], keep: set[str]
    ) -> None:
        """Remove unneeded files, the longest unused first, until space and budget allow."""
        total = sum(file.size for file in stored.values())
        free = None if free_kb is None else free_kb * 1024
        going = []
        for name, file in sorted(stored.items(), key=lambda pair: pair[1].used):
            enough = free is None or free >= need + MARGIN
            if enough and total + need <= self.budget:
                break
            if name not in keep:
                going.append(name)
                total -= file.size
                free = None if free is None else free + file.size
        if free is not None and free < need + MARGIN:
            raise _no_space(self.connection.serial, need, free)
        for batch in _batches(going, 200):
            self.connection.check(f"cd {FILES} && rm -f {quoted(batch)}")

    def _push(self, missing: Sequence[Item]) -> None:
        with tempfile.TemporaryDirectory(prefix="sam-export-") as temporary:
            folder = Path(temporary)
            small = [item for item in missing if item.size < BIG]
            if small:
                self.connection.push([_local(item, folder) for item in small], INCOMING)
            for item in missing:
                if item.size >= BIG:
                    self._push_big(item, folder)
        for batch in _batches(missing, 50):
            self._accept(batch)

    def _push_big(self, item: Item, folder: Path) -> None:
        size = item.size / 2**20
        LOG.info("%s: pushing %s, %.0f MB", self.device, item.name, size)
        start = time.perf_counter()
        self.connection.push([_local(item, folder)], INCOMING)
        speed = size / (time.perf_counter() - start)
        LOG.info("%s: pushed %s at %.0f MB/s", self.device, item.name, speed)

    def _accept(self, items: Sequence[Item]) -> None:
        """Check the hash of each arrival, then give it its name."""
        lines = [f"cd {INCOMING}"]
        for item in items:
            target = f"{FILES}/{item.name}"
            folder, name = quoted([str(PurePosixPath(target).parent)]), quoted([target])
            mode = "755" if item.executable else "644"
            lines.append(
                f'if [ "$(sha256sum < {item.sha256} | cut -c 1-64)" = {item.sha256} ]; then '
                f"mkdir -p {folder} && chmod {mode} {item.sha256} && mv -f {item.sha256} {name} "
                f"|| exit 1; else echo {quoted([item.name])}; fi"
            )
        size = sum(item.size for item in items)
        damaged = self.connection.check("\n".join(lines), deadline=30 + 2 * size / HASHED)
        if damaged.strip():
            raise DeviceError(
                f"{damaged.split()[0]} arrived damaged on {self.connection.serial}: try another "
                "cable or port"
            )

    def _full(self, need: int) -> NoSpaceError:
        self._forget_incoming()
        free = free_kb(self.connection.check(f"df -k {WORK}"))
        return _no_space(self.connection.serial, need, (free or 0) * 1024)

    def _forget_incoming(self) -> None:
        try:
            self.connection.check(f"rm -rf {INCOMING}")
        except DeviceError as error:
            LOG.debug("incoming is left: %s", error)


def clear(connection: Connection) -> int:
    """Undo every change, end every process of ours and remove our folder.

    Returns:
        The bytes that were freed.
    """
    script = (
        f"[ -d {WORK} ] || exit 0\n{KILL}\n"
        f"[ ! -f {WORK}/restore.sh ] || sh {WORK}/restore.sh > /dev/null 2>&1\n"
        f"du -sk {WORK} | cut -f 1\nrm -rf {WORK}"
    )
    words = connection.check(script, deadline=60).split()
    if words and not words[0].isdigit():
        raise CommandError(f"{WORK} was removed, but du said {words[0]!r}")
    return int(words[0]) * 1024 if words else 0


def _local(item: Item, folder: Path) -> Path:
    """Keep the content under its hash, in a folder here: adb takes the remote name from it."""
    path = folder / item.sha256
    if isinstance(item.content, bytes):
        path.write_bytes(item.content)
    else:
        try:
            path.symlink_to(item.content.resolve())
        except OSError:  # Windows lets few users make links
            shutil.copyfile(item.content, path)
    return path


def _no_space(serial: str, need: int, free: int) -> NoSpaceError:
    return NoSpaceError(
        f"{serial} is full: {(need + MARGIN) // 2**20 + 1} MB are needed in {WORK} and "
        f"{free // 2**20} MB are free; free some space on it"
    )


def _once_each(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Split into the first item of each content, and the others."""
    first = {item.sha256: item for item in reversed(items)}
    chosen = list(first.values())
    return chosen, [item for item in items if item not in chosen]


def _batches(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[at : at + size] for at in range(0, len(values), size))
