"""The command services of ADB: `shell`, `shell,v2` and `exec`, over a real process each."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from tests.fakes.stream import Stream, StreamClosedError

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
"""Packets of shell v2: one byte, a 32-bit length, the payload."""
PACKET = struct.Struct("<BI")
PIECE = 1 << 16

Write = Callable[[bytes], Awaitable[None]]


class Started(Protocol):
    """A command that runs on the phone."""

    process: asyncio.subprocess.Process

    def hang_up(self) -> None:
        """SIGHUP to the shell alone, as adbd does; its children live on."""
        ...


async def packets(stream: Stream) -> AsyncIterator[tuple[int, bytes]]:
    """What the host sends in shell v2."""
    while True:
        kind, length = PACKET.unpack(await stream.read_exactly(PACKET.size))
        yield kind, await stream.read_exactly(length)


async def run_v2(stream: Stream, started: Started, change: Callable[[bytes], bytes]) -> None:
    """A command with stdin, stdout, stderr and its exit code kept apart."""
    process = started.process

    def sender(kind: int) -> Write:
        return lambda data: stream.write(PACKET.pack(kind, len(data)) + data)

    async def feed() -> None:
        async for kind, payload in packets(stream):
            if kind == STDIN:
                await _feed(process, payload)
            elif kind == CLOSE_STDIN:
                await _close_stdin(process)

    outputs = (
        _copy(process.stdout, lambda data: sender(STDOUT)(change(data))),
        _copy(process.stderr, sender(STDERR)),
    )
    code = await _attend(stream, started, feed(), *outputs)
    await sender(EXIT)(bytes([code]))


async def run_raw(stream: Stream, started: Started, change: Callable[[bytes], bytes]) -> None:
    """A command whose stdout and stderr are one stream of bytes; the exit code is lost."""
    process = started.process

    async def feed() -> None:
        while data := await stream.read():
            await _feed(process, data)
        await _close_stdin(process)

    await _attend(stream, started, feed(), _copy(process.stdout, lambda d: stream.write(change(d))))


async def _attend(
    stream: Stream,
    started: Started,
    feed: Awaitable[None],
    *outputs: Awaitable[None],
) -> int:
    """Until the outputs end and the process too; its exit code, 128 + N after signal N."""
    feeding = asyncio.ensure_future(feed)
    copying = asyncio.gather(*outputs)
    gone = asyncio.ensure_future(stream.gone.wait())
    try:
        await asyncio.wait((copying, gone), return_when=asyncio.FIRST_COMPLETED)
        if stream.gone.is_set():
            raise StreamClosedError("the host left")
        await copying
        code = await started.process.wait()
    finally:
        for task in (feeding, gone, copying):
            task.cancel()
        await asyncio.gather(feeding, gone, copying, return_exceptions=True)
        if started.process.returncode is None:
            started.hang_up()
    return code if code >= 0 else 128 - code


async def _copy(source: asyncio.StreamReader | None, write: Write) -> None:
    while source is not None and (data := await source.read(PIECE)):
        await write(data)


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(data)
            await process.stdin.drain()


async def _close_stdin(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
