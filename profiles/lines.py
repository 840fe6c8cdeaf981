"""The lines of a store, one at a time and however long, and whether each is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from exporter.errors import RequestError
from profiles.schema import parse_json

MOST_BYTES = 64 * 2**20
"""Of a line; a profile with half a million samples has 8 MB."""
_SPACES = b" \t\r\n\v\f"
_BLANK = _SPACES + b"\0"
_HEAD = b'{"bundle":'
"""How every line that we write begins."""
_CHUNK = 2**20
_BEGINNING = 1000
"""Bytes that are kept of a line that is too long."""


@dataclass(frozen=True)
class Line:
    """A line of a file.

    Attributes:
        number: from 1.
        start: of its first byte in the file.
        size: in bytes, its newline included.
        data: its bytes, if it is too long only the first ones.
        ended: whether it has a newline.
    """

    number: int
    start: int
    size: int
    data: bytes
    ended: bool

    @property
    def torn(self) -> bool:
        """Whether it is the beginning of one of our lines; a crash or a full disk took the rest."""
        begins = self.data.lstrip(_BLANK)[: len(_HEAD)]
        return not self.ended and bool(begins) and _HEAD.startswith(begins)

    @property
    def zeros(self) -> bool:
        """Whether it holds nothing but zeros, which a power cut leaves of a line."""
        return not self.data.strip(_BLANK)

    def text(self, where: str) -> str:
        """Decode it; RequestError if it is too long or no UTF-8.

        Zeros around it are left out: file systems leave them after a power cut.
        """
        if self.size > MOST_BYTES:
            raise RequestError(f"{where} has {self.size} bytes, and no profile is so long")
        if self.zeros:
            raise RequestError(f"{where} is zeros alone, as a power cut leaves them")
        try:
            # Windows' editors put a byte order mark before the first line.
            return self.data.strip(_BLANK).decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise RequestError(f"{where} is not UTF-8") from None

    def is_object(self) -> bool:
        """Tell whether it is a JSON object, of any release."""
        try:
            return isinstance(parse_json(self.text(""), ""), dict)
        except RequestError:
            return False


def lines_of(stream: BinaryIO) -> Iterator[Line]:
    """Yield every line that is not blank."""
    number = start = 0
    while data := stream.readline(MOST_BYTES + 1):
        size, last = len(data), data
        while not last.endswith(b"\n") and (more := stream.readline(_CHUNK)):
            size, last = size + len(more), more
        number += 1
        if size > MOST_BYTES:
            data = data[:_BEGINNING]
        if data.strip(_SPACES):
            yield Line(number, start, size, data, last.endswith(b"\n"))
        start += size
