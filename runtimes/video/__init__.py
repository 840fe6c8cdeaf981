"""`sam-run` on a video: prompts of a command line, the loop over the frames, and what it writes.

asked.py      options -> the prompts of each frame
run.py        the loop: track, correct, both ways
files.py      the files asked for, checked before any work and written together
drawing.py    masks and prompts drawn over a frame
masks.py      a folder of palette PNGs
coco.py       run lengths in pycocotools' form
arrays.py     arrays of all frames in one .npz, spooled to disk
strip.py      some frames side by side
telling.py    progress, and a line of JSON for each frame
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from exporter.bundle.preprocess import Bytes
from exporter.bundle.prompts import Prompts
from runtimes.tracking.result import Tracked


@dataclass(frozen=True)
class Result:
    """One frame that was tracked.

    Attributes:
        number: of the frame in the clip.
        seconds: since the clip's first frame.
        rgb: (H, W, 3) uint8.
        found: object -> what was found; without the objects that were not looked for on it.
        prompts: object -> points and box that were given on this frame.
        ms: milliseconds that each graph took on it.
    """

    number: int
    seconds: float
    rgb: Bytes
    found: Mapping[str, Tracked]
    prompts: Mapping[str, Prompts]
    ms: Mapping[str, float]


class Writer(Protocol):
    """Something that a run writes, frame by frame."""

    def add(self, result: Result) -> None:
        """Take the next frame. ExportError if it cannot be written."""
        ...

    def commit(self) -> None:
        """Put what was taken into its place, whole. ExportError if that fails."""
        ...

    def discard(self) -> None:
        """Leave nothing behind; nothing is raised."""
        ...
