"""Read what stands behind a pickle's opcodes: counts, numbers, texts. Nothing is made larger than
the bytes it is read from, and no integer has more than some thousand digits.
"""

from __future__ import annotations

import struct
from typing import Protocol, overload

from exporter.checkpoints.budget import LONGEST_INTEGER, LONGEST_NAME
from exporter.errors import CheckpointError

_LONGEST_NUMBER = 2 * LONGEST_INTEGER


class Readable(Protocol):
    """Bytes, or a mapped file; a slice reaches no further than they do."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, place: int, /) -> int: ...

    @overload
    def __getitem__(self, place: slice, /) -> bytes: ...

    def find(self, piece: bytes, start: int, end: int, /) -> int:
        """Find the first place of a piece; -1 if there is none."""
        ...


class Arguments:
    """A place in a pickle, and what is read there."""

    def __init__(self, data: Readable, at: int) -> None:
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        """Read `count` bytes. EOFError if there are not so many."""
        taken = self.data[self.at : self.at + count]
        if len(taken) != count:
            raise EOFError("it ends too early")
        self.at += count
        return taken

    def byte(self) -> int:
        """Read an unsigned byte. IndexError if there is none."""
        value = self.data[self.at]
        self.at += 1
        return value

    def number(self, width: int, *, signed: bool = False) -> int:
        """Read a little-endian integer of `width` bytes."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def counted(self, width: int) -> bytes:
        """Read as many bytes as the count of `width` bytes before them says."""
        return self.take(self.number(width))

    def long(self, width: int) -> int:
        """Read a signed integer behind the count of its bytes."""
        count = self.number(width)
        if count > LONGEST_INTEGER:
            raise CheckpointError(f"holds an integer of {count} bytes; no checkpoint does")
        return self.number(count, signed=True)

    def real(self) -> float:
        """Read a big-endian float of 8 bytes."""
        value: float = struct.unpack(">d", self.take(8))[0]
        return value

    def line(self, most: int) -> bytes:
        """Read to the next line end, which is left out. ValueError if it is not within `most`."""
        end = self.data.find(b"\n", self.at, self.at + most + 1)
        if end < 0:
            raise ValueError("a line without an end, or too long a one")
        found = self.data[self.at : end]
        self.at = end + 1
        return found

    def name(self) -> str:
        """Read a line that is a module's or a class's name."""
        return self.line(LONGEST_NAME).decode("utf-8")

    def decimal(self) -> int:
        """Read a line that is an integer, maybe with Python 2's L."""
        digits = self.line(_LONGEST_NUMBER)
        return int(digits.removesuffix(b"L"))

    def short_decimal(self) -> int | bool:
        """Read a line that is an integer, or a truth value as protocol 0 writes it."""
        digits = self.line(_LONGEST_NUMBER)
        return {b"00": False, b"01": True}[digits] if digits in (b"00", b"01") else int(digits)

    def decimal_real(self) -> float:
        """Read a line that is a float."""
        return float(self.line(_LONGEST_NUMBER))

    def quoted(self) -> str:
        """Read a line that is a text in quotes, as Python 2 spelt it."""
        line = self.line(len(self.data))
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
            raise ValueError("a text without its quotes")
        return line[1:-1].decode("unicode_escape")

    def escaped(self) -> str:
        """Read a line that is a text with escapes."""
        return self.line(len(self.data)).decode("raw-unicode-escape")
