"""A folder of pictures as a clip, in the order of the numbers in their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from exporter.errors import ImageError
from exporter.printable import printable
from runtimes.clips import RATE, Clip, ClipFrame
from runtimes.pictures.reading import Reading, read_picture

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"}
    | {".heic", ".heif", ".avif", ".jp2", ".tga", ".qoi"}
)
"""Of a folder's files, those that are its frames; others stand beside them."""
_DIGITS = re.compile(r"(\d+)")


class Folder(Clip):
    """See `Clip`. ImageError if there is no picture in it."""

    def __init__(self, path: Path, how: Reading, rate: float | None = None) -> None:
        self._how, self.rate = how, rate or RATE
        try:
            files = [each for each in path.iterdir() if _is_frame(each)]
        except OSError as error:
            raise ImageError(f"cannot read {printable(str(path))}: {error.strerror}") from None
        if not files:
            raise ImageError(f"{path} holds no pictures: give a video file, or a folder of frames")
        self._files = sorted(files, key=lambda file: _natural(file.name))
        self.name, self.frames = path.resolve().name or "frames", len(files)
        first = read_picture(self._files[0], how)
        self.size, self.notes = first.size, first.notes

    def forward(self) -> Iterator[ClipFrame]:
        """See `Clip`."""
        return map(self._read, range(len(self._files)))

    def backward(self, last: int) -> Iterator[ClipFrame]:
        """See `Clip`."""
        return map(self._read, range(last, -1, -1))

    def _read(self, number: int) -> ClipFrame:
        picture = read_picture(self._files[number], self._how)
        if (picture.rgb.shape[1], picture.rgb.shape[0]) != picture.size:
            raise ImageError(
                f"{self._files[number]} has more pixels than --max-pixels: a frame is not decoded "
                "smaller than it is"
            )
        return ClipFrame(number, picture.rgb, number / self.rate)


def _is_frame(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return not hidden and path.suffix.lower() in SUFFIXES and path.is_file()


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort 9.png before 10.png, whatever stands around the numbers."""
    parts = [(int(p), "") if p.isdecimal() else (-1, p) for p in _DIGITS.split(name) if p]
    return parts, name
