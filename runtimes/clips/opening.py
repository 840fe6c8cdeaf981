"""A path or `-` -> a Clip, or an error that names what it is instead."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from exporter.closest import missing
from exporter.errors import ImageError, RequestError
from exporter.printable import printable
from runtimes.clips import Clip
from runtimes.clips.container import Container
from runtimes.clips.folder import Folder
from runtimes.clips.pipe import PPM, Pipe
from runtimes.pictures.kinds import HEAD, VIDEO, kind_of
from runtimes.pictures.reading import Reading

STDIN = "-"
_Y4M = b"YUV4MPEG2 "
_OGG = b"OggS"
_BUFFER = 2**20


@dataclass(frozen=True)
class Opening:
    """How a clip is read.

    Attributes:
        reading: of a folder's pictures; its limit of pixels is that of every frame.
        rate: frames a second of what has no times; None for 25.
        raw: width and height of raw RGB frames on standard input.
    """

    reading: Reading = field(default_factory=Reading)
    rate: float | None = None
    raw: tuple[int, int] | None = None


def is_video(head: bytes, suffix: str) -> bool:
    """Tell a video file by its first HEAD bytes: what FFmpeg may open. Lists of files are none."""
    return head.startswith((_Y4M, _OGG)) or kind_of(head, suffix) is VIDEO


def open_clip(path: Path, how: Opening | None = None, stdin: BinaryIO | None = None) -> Clip:
    """Open a video file, a folder of frames, or standard input.

    Raises:
        RequestError: an option does not fit, or PyAV is not installed.
        ImageError: it is missing, a picture, or none of these; it is damaged.
    """
    how = how or Opening()
    if str(path) == STDIN:
        return _piped(how, stdin)
    if how.raw is not None:
        raise RequestError("--raw-size is for frames on standard input: give - as the clip")
    if path.is_dir():
        return Folder(path, how.reading, how.rate)
    if how.rate is not None:
        raise RequestError(f"{path} has times of its own: --rate is for a folder or a pipe")
    if not path.is_file():
        raise ImageError(f"{path} is {'no plain file' if path.exists() else missing(path)}")
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise ImageError(f"cannot read {printable(str(path))}: {error.strerror}") from None
    if not is_video(head, path.suffix):
        raise ImageError(_instead(path, head))
    return Container(path, how.reading.max_pixels)


def _instead(path: Path, head: bytes) -> str:
    kind = kind_of(head, path.suffix)
    takes = "this bundle tracks through a video: give a clip, a folder of frames, or -"
    if kind is None:
        return f"{path} is of no kind of video that is known here; {takes}"
    return f"{path} is {kind.name}; {takes}"


def _piped(how: Opening, stdin: BinaryIO | None) -> Clip:
    given = sys.stdin.buffer if stdin is None else stdin
    most = how.reading.max_pixels
    if how.raw is not None:
        return Pipe(given, how.raw, how.rate, most)
    stream = io.BufferedReader(_Rest(given), _BUFFER)
    head = stream.peek(HEAD)[:HEAD]
    if head.startswith(PPM) or not is_video(head, ""):
        return Pipe(stream, None, how.rate, most)
    return Container(stream, most)


class _Rest(io.RawIOBase):
    """Whatever a stream still gives, as it comes: a camera sends one frame and then waits."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill what is there, and wait only if nothing is."""
        read = getattr(self._stream, "read1", self._stream.read)
        content = read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
