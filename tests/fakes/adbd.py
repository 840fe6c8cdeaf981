"""The device's end of ADB over TCP: asks for a key, opens services, carries their streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Protocol

from tests.fakes.auth import PublicKey, parse_public_key
from tests.fakes.stream import Stream, StreamClosedError
from tests.fakes.wire import (
    AUTH,
    CLSE,
    CNXN,
    MAX_PAYLOAD,
    OKAY,
    OPEN,
    PUBLIC_KEY,
    SIGNATURE,
    TOKEN,
    VERSION,
    WRTE,
    Message,
    WireError,
    encoded,
    read_message,
)

FEATURES = ("shell_v2", "cmd", "stat_v2", "ls_v2", "fixed_push_mkdir")

Service = Callable[["Connection", Stream, str], Awaitable[None]]


class Owner(Protocol):
    """What the daemon asks of the phone it runs on."""

    keys: list[PublicKey]

    def banner(self) -> dict[str, str]:
        """`ro.product.*` for the host's list of devices."""
        ...

    def answers(self) -> bool:
        """Whether it says anything at all; a silent one stays `offline` at the host."""
        ...

    def allows(self) -> bool:
        """Whether its user accepts a key not seen before."""
        ...


class Connection:
    """One host connected."""

    def __init__(self, owner: Owner, services: dict[str, Service], writer: asyncio.StreamWriter):
        self._owner, self._services, self._writer = owner, services, writer
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next = 1
        self._token = os.urandom(20)
        self._online = False

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Until the host leaves or the cable is pulled."""
        try:
            while True:
                self._handle(await read_message(reader))
                await self._writer.drain()
        except (asyncio.IncompleteReadError, OSError, WireError):
            pass
        finally:
            self.drop()
            for stream in self._streams.values():
                stream.on_close()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def drop(self) -> None:
        """The cable is pulled: no goodbye, what is under way is lost."""
        self._writer.transport.abort()

    def send(self, message: Message) -> None:
        """To the host, unless it is gone."""
        if not self._writer.transport.is_closing():
            self._writer.write(encoded(message))

    def _handle(self, message: Message) -> None:
        if message.command == CNXN:
            self._greet()
        elif message.command == AUTH:
            self._authenticate(message)
        elif not self._online:
            raise WireError("a stream before the greeting")
        elif message.command == OPEN:
            self._open(message)
        else:
            self._pass_on(message)

    def _greet(self) -> None:
        if self._owner.answers():
            self.send(Message(AUTH, TOKEN, 0, self._token))

    def _authenticate(self, message: Message) -> None:
        known = False
        if message.arg0 == SIGNATURE:
            known = any(key.signed(self._token, message.payload) for key in self._owner.keys)
            known = known and self._owner.allows()
        elif message.arg0 == PUBLIC_KEY and self._owner.allows():
            self._owner.keys.append(parse_public_key(message.payload))
            known = True
        if known:
            self._online = True
            banner = {**self._owner.banner(), "features": ",".join(FEATURES)}
            text = "device::" + "".join(f"{key}={value};" for key, value in banner.items())
            self.send(Message(CNXN, VERSION, MAX_PAYLOAD, text.encode()))
        elif message.arg0 == SIGNATURE:
            self._token = os.urandom(20)
            self.send(Message(AUTH, TOKEN, 0, self._token))

    def _open(self, message: Message) -> None:
        name, _, rest = message.payload.rstrip(b"\x00").decode(errors="replace").partition(":")
        service = self._services.get(name.partition(",")[0])
        if service is None:
            self.send(Message(CLSE, 0, message.arg0))
            return
        stream = Stream(self._next, message.arg0, self.send)
        self._streams[self._next] = stream
        self._next += 1
        self.send(Message(OKAY, stream.local, stream.remote))
        asked = f"{name}:{rest}"
        task = asyncio.get_running_loop().create_task(self._serve(service, stream, asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, service: Service, stream: Stream, asked: str) -> None:
        with contextlib.suppress(StreamClosedError):
            await service(self, stream, asked)
        await stream.close()

    def _pass_on(self, message: Message) -> None:
        stream = self._streams.get(message.arg1)
        if stream is None:
            if message.command == WRTE:
                self.send(Message(CLSE, 0, message.arg0))
        elif message.command == WRTE:
            stream.on_data(message.payload)
        elif message.command == OKAY:
            stream.on_okay()
        elif message.command == CLSE:
            del self._streams[message.arg1]
            if not stream.gone.is_set():
                self.send(Message(CLSE, stream.local, stream.remote))
            stream.on_close()


class Adbd:
    """Listens on a port of this host's loopback, the same one after each `plug`."""

    def __init__(self, owner: Owner, services: dict[str, Service]) -> None:
        self._owner, self._services = owner, services
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, asyncio.Task[None] | None] = {}
        self.port = 0

    async def plug(self) -> None:
        """Starts to listen; nothing where it does already."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, limit=2 * MAX_PAYLOAD
            )
            self.port = self._server.sockets[0].getsockname()[1]

    def unplug(self) -> None:
        """Stops to listen and drops every host at once; what runs on the phone is hung up."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.drop()

    async def idle(self) -> None:
        """Returns when the last host is gone and its services have ended."""
        tasks = [task for task in self._connections.values() if task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self._owner, self._services, writer)
        self._connections[connection] = asyncio.current_task()
        try:
            await connection.run(reader)
        finally:
            del self._connections[connection]
