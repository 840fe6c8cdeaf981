"""Frames in, whatever they come in; and a video out.

opening.py    a path or `-` -> Clip
container.py  a video file, or a stream of one, by PyAV
folder.py     a folder of pictures
pipe.py       PPM or raw pictures on standard input
encoding.py   frames -> a video file
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from exporter.bundle.preprocess import Bytes

RATE = 25.0
"""Frames a second of what has no times, such as a folder."""


@dataclass(frozen=True)
class ClipFrame:
    """One frame.

    Attributes:
        number: 0 for the first, whatever its time.
        rgb: (H, W, 3) uint8, upright.
        seconds: since the first frame.
    """

    number: int
    rgb: Bytes
    seconds: float


class Clip(ABC):
    """Frames in order, opened.

    Attributes:
        name: for files that are named after it.
        size: width and height of the first frame, upright.
        frames: how many there are; None if only the end will tell.
        rate: frames a second, on average.
        notes: sentences for the reader about the whole; mostly none.
    """

    name: str
    size: tuple[int, int]
    frames: int | None
    rate: float
    notes: tuple[str, ...] = ()

    @abstractmethod
    def forward(self) -> Iterator[ClipFrame]:
        """Give every frame, from the first.

        Raises:
            ImageError: a frame is damaged, or the end is missing.
        """

    @abstractmethod
    def backward(self, last: int) -> Iterator[ClipFrame]:
        """Give every frame from number `last` down to 0.

        Raises:
            RequestError: frames come once, from a pipe.
            ImageError: a frame is damaged.
        """
