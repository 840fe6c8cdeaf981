"""Pictures on standard input, as a camera's program writes them: PPM one after another, or raw.

ffmpeg -i rtsp://... -f image2pipe -c:v ppm - | sam-run BUNDLE - --point 480,360 --json
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from exporter.bundle.preprocess import Bytes
from exporter.errors import ImageError, RequestError
from exporter.printable import printable
from runtimes.clips import RATE, Clip, ClipFrame

PPM = b"P6"
_MOST_HEADER = 1024
_SPACE = b" \t\r\n"


class Pipe(Clip):
    """See `Clip`. Its first frame is read at once.

    Args:
        stream: of bytes.
        raw: width and height of raw RGB frames of 8 bits; None for PPM, which says so itself.
        rate: frames a second, or None for 25.
        most: pixels that a frame may have.

    Raises:
        ImageError: the stream is empty, or begins with something else.
    """

    def __init__(
        self, stream: BinaryIO, raw: tuple[int, int] | None, rate: float | None, most: int
    ) -> None:
        self._stream, self._raw, self._most = stream, raw, most
        self.name, self.frames, self.rate = "stdin", None, rate or RATE
        first = self._read(0)
        if first is None:
            raise ImageError("standard input is empty: pipe frames to it")
        self._first: Bytes | None = first
        self.size = first.shape[1], first.shape[0]

    def forward(self) -> Iterator[ClipFrame]:
        """See `Clip`. The frames come once."""
        number, frame, self._first = 0, self._first, None
        while frame is not None:
            yield ClipFrame(number, frame, number / self.rate)
            number += 1
            frame = self._read(number)

    def backward(self, last: int) -> Iterator[ClipFrame]:
        """RequestError: nothing comes back from a pipe."""
        raise RequestError("frames of a pipe come once: --both-ways takes a file or a folder")

    def _read(self, number: int) -> Bytes | None:
        """Read a frame (H, W, 3); None at the end."""
        size = self._raw if self._raw is not None else self._header(number)
        if size is None:
            return None
        width, height = size
        if width * height > self._most:
            raise ImageError(
                f"frame {number} is {width} x {height}: up to {self._most} pixels are read "
                "(--max-pixels)"
            )
        wanted = width * height * 3
        content = self._stream.read(wanted)
        if not content and self._raw is not None:
            return None
        if len(content) < wanted:
            raise ImageError(
                f"frame {number} on standard input is cut off: {len(content)} of {wanted} bytes"
            )
        return np.frombuffer(content, np.uint8).reshape(height, width, 3)

    def _header(self, number: int) -> tuple[int, int] | None:
        """Read width and height of a PPM; None at the end."""
        start = self._stream.read(2)
        if not start:
            return None
        if start != PPM:
            raise ImageError(
                f"frame {number} on standard input begins with {printable(repr(start))}: a stream "
                "of PPM (P6) is read, or raw RGB with --raw-size WIDTHxHEIGHT"
            )
        width, height, most = (self._number(number) for _ in range(3))
        if most != 255 or 0 in (width, height):
            raise ImageError(f"frame {number} on standard input is no PPM of 8 bits")
        return width, height

    def _number(self, frame: int) -> int:
        """Read a number of a header, with the one byte after it."""
        digits, seen, comment = b"", 0, False
        while seen < _MOST_HEADER:
            byte = self._stream.read(1)
            seen += 1
            if byte == b"#" and not digits:
                comment = True
            if byte.isdigit() and not comment:
                digits += byte
            elif byte and byte in _SPACE and digits:
                return int(digits)
            elif comment and byte in (b"\n", b"\r"):
                comment = False
            elif not comment and (not byte or byte not in _SPACE):
                break
        raise ImageError(f"frame {frame} on standard input has a damaged PPM header")
