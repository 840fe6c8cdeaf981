"""One opened service of a connection: bytes both ways, one unacknowledged message each way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.fakes.wire import CLSE, MAX_PAYLOAD, OKAY, WRTE, Message


class StreamClosedError(Exception):
    """The host has closed this stream, or the connection is gone."""


class Stream:
    """The device's end of a stream.

    Attributes:
        gone: set once nothing can be written any more.
    """

    def __init__(self, local: int, remote: int, send: Callable[[Message], None]) -> None:
        self.local, self.remote = local, remote
        self.gone = asyncio.Event()
        self._send = send
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self._acknowledged = asyncio.Event()
        self._acknowledged.set()
        self._turn = asyncio.Lock()
        self._rest = memoryview(b"")
        self._ended = False

    # What the connection calls.

    def on_data(self, payload: bytes) -> None:
        """A WRTE from the host."""
        self._arrived.put_nowait(payload)

    def on_okay(self) -> None:
        """The host took what was written last."""
        self._acknowledged.set()

    def on_close(self) -> None:
        """The host closed, or the connection is lost."""
        self.gone.set()
        self._acknowledged.set()
        self._arrived.put_nowait(b"")

    # What a service calls.

    async def read(self) -> bytes:
        """What the host wrote next; empty at the end. The host may write more once it is read."""
        if self._rest:
            data, self._rest = bytes(self._rest), memoryview(b"")
            return data
        if self._ended:
            return b""
        data = await self._arrived.get()
        if data:
            self._send(Message(OKAY, self.local, self.remote))
        self._ended = not data
        return data

    async def read_exactly(self, count: int) -> bytes:
        """The next `count` bytes; StreamClosedError where the host ends before."""
        parts: list[memoryview] = []
        missing = count
        while missing:
            data = self._rest or memoryview(await self.read())
            if not data:
                raise StreamClosedError(f"{missing} of {count} bytes missing")
            parts.append(data[:missing])
            self._rest = data[missing:]
            missing -= len(parts[-1])
        return parts[0].tobytes() if len(parts) == 1 else b"".join(parts)

    async def write(self, data: bytes) -> None:
        """Sends `data`, each message after the one before was taken."""
        async with self._turn:
            for start in range(0, len(data), MAX_PAYLOAD):
                await self._acknowledged.wait()
                if self.gone.is_set():
                    raise StreamClosedError("closed by the host")
                self._acknowledged.clear()
                part = data[start : start + MAX_PAYLOAD]
                self._send(Message(WRTE, self.local, self.remote, part))

    async def close(self) -> None:
        """Ends the stream once the host has taken everything."""
        async with self._turn:
            await self._acknowledged.wait()
        self._send(Message(CLSE, self.local, self.remote))
        self.gone.set()
