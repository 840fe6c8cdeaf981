"""Frames -> a video file, by PyAV; it appears whole or not at all."""

from __future__ import annotations

import contextlib
import secrets
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from exporter.bundle.preprocess import Bytes
from exporter.errors import ExportError, RequestError
from exporter.printable import printable
from runtimes.clips.container import require_av

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")
_TICKS = 90_000
"""A second, in the file's time: whatever the times of the frames are, they are kept."""
_CODECS = {
    ".webm": (("libvpx-vp9", {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "6"}),),
}
_USUAL = (
    ("libx264", {"crf": "20", "preset": "veryfast", "bf": "0"}),
    ("mpeg4", {"qscale": "4"}),
)


class Encoder:
    """A video file that is being written, in a temporary file beside it.

    Args:
        path: ends in one of SUFFIXES.
        size: width and height of the frames.
        rate: frames a second, on average.

    Raises:
        RequestError: PyAV is not installed, or has no encoder for it.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        require_av()
        import av

        self._path = path
        self._partial = path.with_name(f".partial-{secrets.token_hex(8)}{path.suffix}")
        codecs = _CODECS.get(path.suffix.lower(), _USUAL)
        known = [each for each in codecs if each[0] in av.codecs_available]
        if not known:
            raise RequestError(f"PyAV here has no encoder for {path.suffix}; end {path} in .mp4")
        codec, options = known[0]
        try:
            self._file: Any = av.open(str(self._partial), "w")
            stream: Any = self._file.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise RequestError(f"cannot write {printable(str(path))}: {error.strerror}") from None
        # Of 4:2:0, sides are even.
        stream.width, stream.height = (side + side % 2 for side in size)
        stream.pix_fmt, stream.options = "yuv420p", options
        stream.codec_context.time_base = Fraction(1, _TICKS)
        self._stream, self._last = stream, -1

    def add(self, rgb: Bytes, seconds: float) -> None:
        """Append a frame (H, W, 3). ExportError if it cannot be written."""
        import av

        height, width = self._stream.height, self._stream.width
        if rgb.shape[:2] != (height, width):
            more = ((0, height - rgb.shape[0]), (0, width - rgb.shape[1]), (0, 0))
            rgb = np.pad(rgb, more, mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        self._last = max(self._last + 1, round(seconds * _TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._mux(frame)

    def commit(self) -> None:
        """Finish the file and put it into its place."""
        import av

        try:
            self._mux(None)
            self._file.close()
            self._partial.replace(self._path)
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise self._failed(error) from None

    def discard(self) -> None:
        """Leave nothing behind."""
        import av

        with contextlib.suppress(AttributeError, av.FFmpegError, OSError, ValueError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _mux(self, frame: Any) -> None:
        import av

        try:
            for packet in self._stream.encode(frame):
                self._file.mux(packet)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> ExportError:
        reason = getattr(error, "strerror", None) or str(error)
        return ExportError(f"cannot write {printable(str(self._path))}: {printable(str(reason))}")
