"""The words of ADB's transport: 24-byte headers, little-endian, with a payload each.

A message is (command, arg0, arg1, payload). The two arguments of the stream commands are the
sender's and the receiver's number for that stream.
"""

from __future__ import annotations

import asyncio
import struct
from typing import NamedTuple

CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (
    int.from_bytes(name, "little")
    for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
VERSION = 0x01000001
"""From this version on neither side looks at the checksums."""
MAX_PAYLOAD = 1 << 20
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3
"""The first argument of AUTH."""

HEADER = struct.Struct("<6I")


class Message(NamedTuple):
    """One message; the payload is never looked into here."""

    command: int
    arg0: int
    arg1: int
    payload: bytes = b""


class WireError(Exception):
    """The other side does not speak this protocol."""


async def read_message(reader: asyncio.StreamReader) -> Message:
    """The next message. IncompleteReadError at the end of the connection."""
    header = await reader.readexactly(HEADER.size)
    command, arg0, arg1, length, _checksum, magic = HEADER.unpack(header)
    if magic != command ^ 0xFFFFFFFF or length > MAX_PAYLOAD:
        raise WireError(f"not an ADB header: {header.hex()}")
    return Message(command, arg0, arg1, await reader.readexactly(length) if length else b"")


def encoded(message: Message) -> bytes:
    """The bytes of a message, header and payload."""
    command, arg0, arg1, payload = message
    checksum = sum(payload) & 0xFFFFFFFF if command in {CNXN, AUTH} else 0
    header = HEADER.pack(command, arg0, arg1, len(payload), checksum, command ^ 0xFFFFFFFF)
    return header + payload
