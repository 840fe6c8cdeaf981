"""A video file, or a stream of one, by PyAV: any codec and pixel format that FFmpeg reads.

Frames are numbered as they are shown, whatever the times between them; a display rotation is
applied. Whatever FFmpeg raises becomes one line of our own.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from exporter.bundle.preprocess import Bytes
from exporter.errors import ImageError, RequestError
from exporter.printable import printable
from runtimes.clips import RATE, Clip, ClipFrame
from runtimes.pictures.reading import MAX_SIDE

_HELD = 2**28
"""Bytes of frames that are decoded ahead to be given backward."""
_HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of ITU-T H.273 that are brighter than a picture for a screen."""


class Container(Clip):
    """See `Clip`.

    Args:
        source: a path, or a stream of bytes that is read once.
        most: pixels that a frame may have.

    Raises:
        RequestError: PyAV is not installed.
        ImageError: not a video that FFmpeg reads; no frame in it; it is cut off.
    """

    def __init__(self, source: Path | BinaryIO, most: int) -> None:
        require_av()
        self._source, self._most = source, most
        self._place = str(source) if isinstance(source, Path) else "standard input"
        self.name = source.stem if isinstance(source, Path) else "stdin"
        self._open: Any = None
        with self._explained("cannot be opened"):
            self._open, stream = self._opened()
            self.rate = float(stream.average_rate or stream.guessed_rate or RATE)
        self._times: list[int] | None = None
        self.frames = self._counted() if isinstance(source, Path) else None
        self._ahead = self._decoded(0)
        self._peek = next(self._ahead, None)
        if self._peek is None:
            raise ImageError(f"{self._place} holds no frame")
        self.size = self._peek.rgb.shape[1], self._peek.rgb.shape[0]

    def forward(self) -> Iterator[ClipFrame]:
        """See `Clip`."""
        if self._peek is not None:
            first, self._peek = self._peek, None
            yield first
            yield from self._ahead
        else:
            yield from self._decoded(0)

    def backward(self, last: int) -> Iterator[ClipFrame]:
        """See `Clip`. Frames are decoded in order, some at a time, from the key frame before."""
        if not isinstance(self._source, Path):
            raise RequestError("frames of a pipe come once: --both-ways takes a file or a folder")
        at_once = max(1, _HELD // (3 * self.size[0] * self.size[1]))
        while last >= 0:
            first = max(0, last + 1 - at_once)
            held = self._between(first, last)
            # Some formats can be searched only roughly.
            if [frame.number for frame in held] != list(range(first, last + 1)):
                self._times = None
                held = self._between(first, last)
            yield from reversed(held)
            last = first - 1

    def _between(self, first: int, last: int) -> list[ClipFrame]:
        return [*takewhile(lambda frame: frame.number <= last, self._decoded(first))]

    def _counted(self) -> int:
        """Count the frames without decoding them. ImageError if fewer are there than promised."""
        with self._explained("is damaged"):
            container, stream = self._opened()
            with container:
                # Other formats' headers promise what they like.
                promised = int(stream.frames) if "mp4" in container.format.name else 0
                packets = [each for each in container.demux(stream) if each.size]
                duration = container.duration if "matroska" in container.format.name else None
        # The last one may be half of a recording that was stopped.
        if any(packet.is_corrupt for packet in packets[:-1]):
            raise ImageError(f"{self._place} is damaged: parts of it are missing")
        shown = [p.pts for p in packets if not p.is_discard and not p.is_corrupt]
        if promised and len(shown) < promised:
            raise ImageError(
                f"{self._place} is cut off: {len(shown)} of {promised} frames are in it"
            )
        if not shown:
            raise ImageError(f"{self._place} holds no frame")
        self._times = None if None in shown else sorted(shown)
        self._compare_ends(duration, stream)
        return len(shown)

    def _compare_ends(self, duration: int | None, stream: Any) -> None:
        """Note that a file says that it is longer than its frames are; sound may be."""
        if duration is None or self._times is None:
            return
        end = (self._times[-1] - self._times[0]) * float(stream.time_base)
        promised = duration / 1e6
        if promised > 1 + 1.1 * end:
            self.notes = (
                f"{self._place} says that it lasts {promised:.1f} s, and its frames end at "
                f"{end:.1f} s: it may be cut off",
            )

    def _decoded(self, first: int) -> Iterator[ClipFrame]:
        """Decode from frame number `first` on."""
        if self._open is None:
            with self._explained("cannot be opened"):
                self._open, _ = self._opened()
        container, self._open = self._open, None
        with container:
            stream = self._video(container)
            number, start = 0, None
            sought = self._seek(container, stream, first)
            frames = container.decode(stream)
            while True:
                with self._explained(f"cannot be decoded at frame {number}"):
                    frame = next(frames, None)
                if frame is None:
                    break
                if start is None:
                    start = frame.time if sought is None else self._times_start(stream)
                    number = 0 if sought is None else self._number_of(frame.pts)
                if number >= first:
                    yield self._frame(frame, number, start)
                number += 1
        if self.frames is not None and number < self.frames and sought is None:
            # Some files hide a few frames at their start or end by an edit list.
            self.frames = number

    def _seek(self, container: Any, stream: Any, first: int) -> int | None:
        """Go to the key frame before a frame; None if decoding begins at the start."""
        times = self._times
        if not first or times is None or first >= len(times):
            return None
        with self._explained("cannot be searched"):
            container.seek(times[first], stream=stream, backward=True)
        return int(times[first])

    def _number_of(self, pts: int) -> int:
        times = self._times or []
        return int(np.searchsorted(times, pts))

    def _times_start(self, stream: Any) -> float:
        return float((self._times or [0])[0] * stream.time_base)

    def _frame(self, frame: Any, number: int, start: float | None) -> ClipFrame:
        if frame.is_corrupt:
            raise ImageError(f"{self._place} is damaged: frame {number} cannot be decoded whole")
        if frame.width * frame.height > self._most or max(frame.width, frame.height) > MAX_SIDE:
            raise ImageError(
                f"{self._place} is {frame.width} x {frame.height}: up to {self._most} pixels a "
                "frame are read (--max-pixels)"
            )
        rgb = self._rgb(frame, number)
        time = number / self.rate if frame.time is None else float(frame.time - (start or 0.0))
        if not number:
            self.notes = tuple(dict.fromkeys([*self.notes, *self._said(frame)]))
        return ClipFrame(number, rgb, time)

    def _rgb(self, frame: Any, number: int) -> Bytes:
        try:
            rgb: Bytes = frame.to_ndarray(format="rgb24")
        except Exception as error:  # noqa: BLE001 - PyAV raises its own of several trees
            raise ImageError(
                f"{self._place}: frame {number} has the pixel format {frame.format.name}, which "
                f"PyAV cannot convert ({printable(str(error))}); convert the clip to yuv420p"
            ) from None
        quarters = round(frame.rotation / 90)
        return np.ascontiguousarray(np.rot90(rgb, quarters)) if quarters % 4 else rgb

    def _said(self, frame: Any) -> tuple[str, ...]:
        curve = _HDR.get(int(frame.color_trc or 0))
        hdr = f"{self._place} is HDR ({curve}): its colours are taken as they are stored"
        skew = frame.rotation % 90
        turned = f"{self._place} is turned by {frame.rotation} degrees: only quarters are undone"
        return tuple(note for note, said in ((hdr, curve), (turned, skew)) if said)

    def _opened(self) -> tuple[Any, Any]:
        import av

        opened: Any = av.open(
            str(self._source) if isinstance(self._source, Path) else self._source,
            metadata_errors="replace",
        )
        try:
            return opened, self._video(opened)
        except BaseException:
            opened.close()
            raise

    def _video(self, container: Any) -> Any:
        """Find the track of frames. ImageError if there is none that can be decoded."""
        import av

        tracks = [s for s in container.streams.video if not _is_cover(s)]
        if not tracks:
            raise ImageError(f"{self._place} has no track of frames")
        track = tracks[0]
        if track.codec_context is None:
            raise ImageError(f"{self._place} has a codec that PyAV {av.__version__} cannot decode")
        track.thread_type = "AUTO"
        return track

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        import av

        try:
            yield
        except av.FFmpegError as error:
            reason = printable(error.strerror or type(error).__name__)
            raise ImageError(f"{self._place} {what}: {reason}") from None
        except (ValueError, OverflowError, UnicodeError) as error:
            raise ImageError(f"{self._place} {what}: {printable(str(error))}") from None


def require_av() -> None:
    """RequestError if PyAV is not installed."""
    if importlib.util.find_spec("av") is None:
        raise RequestError(
            "video files are read by PyAV: pip install 'sam-export[video]'; a folder of frames and "
            "a pipe of PPM pictures need nothing"
        )


def _is_cover(stream: Any) -> bool:
    """Tell whether a track is the picture on a record's sleeve."""
    return "attached_pic" in str(stream.disposition).lower()
