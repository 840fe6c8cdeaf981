"""The files that a run on a video writes: checked before any work, written together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from exporter.bundle.video import VideoRule
from exporter.errors import RequestError
from runtimes.clips import Clip
from runtimes.clips.container import require_av
from runtimes.clips.encoding import SUFFIXES, Encoder
from runtimes.pictures.writing import require_picture_format, require_writable
from runtimes.video import Result, Writer
from runtimes.video.arrays import ArraysFile
from runtimes.video.coco import CocoFile
from runtimes.video.drawing import as_bytes, draw
from runtimes.video.masks import MOST, MaskFolder, require_new
from runtimes.video.strip import Strip


@dataclass(frozen=True)
class VideoFiles:
    """Files to write; None is not written.

    Attributes:
        overlay: the video with masks and prompts.
        masks: a folder of palette PNGs.
        coco: run lengths.
        strip: some frames side by side.
        arrays: of all frames.
    """

    overlay: Path | None = None
    masks: Path | None = None
    coco: Path | None = None
    strip: Path | None = None
    arrays: Path | None = None

    @property
    def asked(self) -> list[Path]:
        """Those that are written."""
        paths = (getattr(self, field.name) for field in fields(self))
        return [path for path in paths if path is not None]


def check_files(files: VideoFiles, clip: Path, objects: Sequence[str]) -> None:
    """RequestError, before any work, if a file cannot be written or is named twice."""
    for path in files.asked:
        if path != files.masks:
            require_writable(path)
    resolved = [path.resolve() for path in [clip, *files.asked]]
    if len(set(resolved)) < len(resolved):
        raise RequestError("the clip and what is written should be different files")
    if files.overlay is not None:
        _check_overlay(files.overlay)
    if files.masks is not None:
        _check_masks(files.masks, objects)
    if files.strip is not None:
        require_picture_format(files.strip)
    _require_suffix(files.coco, ".json")
    _require_suffix(files.arrays, ".npz")


def _check_overlay(path: Path) -> None:
    require_av()
    if path.suffix.lower() not in SUFFIXES:
        raise RequestError(
            f"{path} should end in one of {', '.join(SUFFIXES)}; --strip writes a picture"
        )


def _require_suffix(path: Path | None, suffix: str) -> None:
    if path is not None and path.suffix.lower() != suffix:
        raise RequestError(f"{path} should end in {suffix}")


def _check_masks(folder: Path, objects: Sequence[str]) -> None:
    require_writable(folder.with_name(f".{folder.name[:40]}"))
    require_new(folder)
    if len(objects) > MOST:
        raise RequestError(f"a palette tells {MOST} objects apart: take --coco for more")


class Overlay:
    """The video with masks and prompts. See `Writer`."""

    def __init__(self, path: Path, objects: tuple[str, ...], clip: Clip) -> None:
        self._encoder, self._objects = Encoder(path, clip.size, clip.rate), objects

    def add(self, result: Result) -> None:
        """See `Writer`."""
        self._encoder.add(as_bytes(draw(result, self._objects)), result.seconds)

    def commit(self) -> None:
        """See `Writer`."""
        self._encoder.commit()

    def discard(self) -> None:
        """See `Writer`."""
        self._encoder.discard()


class Writers:
    """Everything that is written; all of it or nothing."""

    def __init__(
        self, files: VideoFiles, objects: tuple[str, ...], clip: Clip, rule: VideoRule
    ) -> None:
        self._writers: list[Writer] = []
        self.written: list[Path] = []
        try:
            for path, writer in _open(files, objects, clip, rule):
                self._writers.append(writer)
                self.written.append(path)
        except BaseException:
            self.discard()
            raise

    def add(self, result: Result) -> None:
        """Give a frame to each."""
        for writer in self._writers:
            writer.add(result)

    def commit(self) -> None:
        """Put all files into their places; the rest of them is left out if one cannot be."""
        try:
            for writer in self._writers:
                writer.commit()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing behind of what is not in its place yet."""
        for writer in self._writers:
            writer.discard()


def _open(
    files: VideoFiles, objects: tuple[str, ...], clip: Clip, rule: VideoRule
) -> Iterator[tuple[Path, Writer]]:
    if files.overlay is not None:
        yield files.overlay, Overlay(files.overlay, objects, clip)
    if files.masks is not None:
        yield files.masks, MaskFolder(files.masks, objects)
    if files.coco is not None:
        yield files.coco, CocoFile(files.coco, objects)
    if files.strip is not None:
        yield files.strip, Strip(files.strip, objects)
    if files.arrays is not None:
        side, absent = 4 * rule.grid, rule.absent_logit
        yield files.arrays, ArraysFile(files.arrays, objects, side, absent)
