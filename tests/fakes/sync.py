"""The file service of ADB: stat, list, send, receive; as adbd answers, errors included."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Awaitable, Callable

from tests.fakes.storage import Storage
from tests.fakes.stream import Stream
from tests.fakes.upload import Upload

CHUNK = 1 << 16
STAT2 = struct.Struct("<4sI2Q4IQ3q")
HEAD = struct.Struct("<4sI")
SHELL_ID = 2000
"""The user and group that own what the shell makes."""


class Sync:
    """One host's session; `pull_cable` is called once a push exceeds the fault's limit."""

    def __init__(self, storage: Storage, stream: Stream, pull_cable: Callable[[], None]) -> None:
        self._storage, self._stream, self._pull_cable = storage, stream, pull_cable
        self._received = 0

    async def run(self) -> None:
        """Until QUIT, or something that is no request."""
        requests: dict[bytes, Callable[[str], Awaitable[None]]] = {
            b"STAT": self._stat1,
            b"STA2": lambda path: self._stat2(b"STA2", path),
            b"LST2": lambda path: self._stat2(b"LST2", path),
            b"LIST": self._list1,
            b"LIS2": self._list2,
            b"SEND": self._send,
            b"RECV": self._recv,
        }
        while True:
            name, length = HEAD.unpack(await self._stream.read_exactly(HEAD.size))
            if name not in requests:
                return
            path = (await self._stream.read_exactly(length)).decode()
            await requests[name](path)

    async def _fail(self, error: OSError, doing: str = "") -> None:
        text = f"{doing}: {error.strerror}" if doing else str(error.strerror)
        await self._stream.write(HEAD.pack(b"FAIL", len(text.encode())) + text.encode())

    async def _stat1(self, path: str) -> None:
        numbers = (0, 0, 0)
        with contextlib.suppress(OSError):
            found = self._storage.stat(path, follow=False)
            numbers = (found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))
        await self._stream.write(struct.pack("<4s3I", b"STAT", *numbers))

    async def _stat2(self, name: bytes, path: str) -> None:
        try:
            found = self._storage.stat(path, follow=name == b"STA2")
        except OSError as error:
            await self._stream.write(STAT2.pack(name, error.errno or errno.EIO, *[0] * 10))
        else:
            await self._stream.write(_stat2(name, found))

    def _entries(self, path: str) -> list[tuple[bytes, os.stat_result]]:
        with contextlib.suppress(OSError):
            folder = self._storage.readable(path)
            return [
                (os.fsencode(entry.name), entry.stat(follow_symlinks=False))
                for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
            ]
        return []

    async def _list1(self, path: str) -> None:
        answer = bytearray()
        for name, found in self._entries(path):
            numbers = (found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))
            answer += struct.pack("<4s4I", b"DENT", *numbers, len(name)) + name
        await self._stream.write(bytes(answer) + struct.pack("<4s4I", b"DONE", 0, 0, 0, 0))

    async def _list2(self, path: str) -> None:
        answer = bytearray()
        for name, found in self._entries(path):
            answer += _stat2(b"DNT2", found) + struct.pack("<I", len(name)) + name
        await self._stream.write(bytes(answer) + STAT2.pack(b"DONE", *[0] * 11) + bytes(4))

    async def _recv(self, path: str) -> None:
        try:
            with self._storage.readable(path).open("rb") as file:
                # A whole stream message at a time: each waits for the host's acknowledgement.
                while data := file.read(8 * CHUNK):
                    view = memoryview(data)
                    parts: list[bytes | memoryview] = []
                    for start in range(0, len(data), CHUNK):
                        part = view[start : start + CHUNK]
                        parts += HEAD.pack(b"DATA", len(part)), part
                    await self._stream.write(b"".join(parts))
        except OSError as error:
            await self._fail(error, "open failed")
        else:
            await self._stream.write(HEAD.pack(b"DONE", 0))

    async def _send(self, request: str) -> None:
        path, _, mode = request.rpartition(",")
        upload = Upload(self._storage, path, int(mode))
        while True:
            name, length = HEAD.unpack(await self._stream.read_exactly(HEAD.size))
            if name != b"DATA":
                break
            upload.take(await self._stream.read_exactly(length))
            self._count(length)
        error = upload.finish(seconds=length)
        if error is None:
            await self._stream.write(HEAD.pack(b"OKAY", 0))
        else:
            await self._fail(error, upload.doing)

    def _count(self, length: int) -> None:
        self._received += length
        limit = self._storage.faults.drop_after_bytes
        if limit is not None and self._received > limit:
            self._pull_cable()


def _stat2(name: bytes, found: os.stat_result) -> bytes:
    owner = (SHELL_ID, SHELL_ID)
    times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
    where = (found.st_dev, found.st_ino, found.st_mode, found.st_nlink)
    return STAT2.pack(name, 0, *where, *owner, found.st_size, *times)
