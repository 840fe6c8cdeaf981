"""A tracked frame as it is measured: the whole of it, and what each graph took of it.

With a full bank, as every frame of a video is but the first few. The graphs of memory alone
mislead: the image encoder runs on every frame as well. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from exporter.bundle.folder import Bundle
from runtimes.device import GraphRun, Method

OBJECTS = (1, 3)
"""How many objects are followed, each number apart, unless told."""
_TITLE = "tracked frame"
_NAMED = re.compile(rf"{_TITLE}, \d+ objects?(?:: (.+))?")


@runtime_checkable
class TracksFrames(Protocol):
    """A `runtimes.device.Bench` that times whole frames of a video."""

    def run_frame(self, bundle: Bundle, objects: int) -> tuple[GraphRun, ...]:
        """Time frames in which so many objects are tracked, in one process: see `frame_runs`.

        Raises:
            RequestError: this way to the device cannot.
        """
        ...


@dataclass(frozen=True)
class FramePart:
    """What one graph took of each frame, for all objects together; times in nanoseconds.

    Attributes:
        load_ns: loading it.
        first_ns: of the first frame.
        samples_ns: of every frame that counts.
    """

    graph: str
    load_ns: int
    first_ns: int
    samples_ns: tuple[int, ...]


def counts(bundle: Bundle, method: Method) -> tuple[int, ...]:
    """Return the numbers of objects that a method times a bundle's frames with."""
    return (method.objects or OBJECTS) if bundle.manifest.video is not None else ()


def frame_count(runs: int, objects: int) -> int:
    """Return the frames that are timed, at least, where a graph has `runs` calls.

    Fewer, as each is many calls: three objects on a large network would not end in time else.
    """
    return -(-runs // (1 + objects))


def frame_title(objects: int, graph: str = "") -> str:
    """Name a measured frame, or a graph's part of it: `tracked frame, 3 objects: mask_decoder`."""
    return f"{_TITLE}, {objects} object{'' if objects == 1 else 's'}{graph and f': {graph}'}"


def is_frame(title: str) -> bool:
    """Tell whether it names a tracked frame or a part of one, not a graph by itself."""
    return _NAMED.fullmatch(title) is not None


def graph_in_frame(title: str) -> str:
    """Find the graph whose part of a frame it names; empty if it names no part."""
    named = _NAMED.fullmatch(title)
    return (named[1] or "") if named else ""


def frame_runs(whole: GraphRun, objects: int, parts: Iterable[FramePart]) -> tuple[GraphRun, ...]:
    """List a frame, and each graph's part of it, as runs with names of their own.

    What is of the process is told once, with the whole: its memory, processor time and notes.
    """
    own = [
        replace(
            whole,
            graph=frame_title(objects, part.graph),
            load_ns=part.load_ns,
            first_ns=part.first_ns,
            warmup_ns=(part.first_ns,),
            samples_ns=part.samples_ns,
            cpu_ns=None,
            peak_bytes=None,
            notes=(),
        )
        for part in parts
    ]
    return (whole, *own)
