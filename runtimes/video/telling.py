"""What a run on a video tells while it goes on. Standard library and numpy."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from exporter.printable import one_line
from runtimes.outputs import bounding_box
from runtimes.video import Result

EVERY_S = 5.0
"""Between two lines of progress; on a terminal, where one line is written over, a tenth of it."""


class Progress:
    """Frames a second and time left, on stderr.

    Args:
        total: frames to come; None if only the end will tell.
        clock: seconds.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._total, self._clock = total, clock
        self._start = self._last = clock()
        self._done = 0
        self._line = sys.stderr.isatty()

    def step(self, number: int) -> None:
        """Count a frame that is done; `number` is the frame's own."""
        self._done += 1
        now = self._clock()
        if now - self._last >= (EVERY_S / 10 if self._line else EVERY_S):
            self._last = now
            if self._line:
                sys.stderr.write("\r\x1b[K")
            sys.stderr.write(f"sam-run: {one_line(self.text(number))}")
            if not self._line:
                sys.stderr.write("\n")
            sys.stderr.flush()

    def text(self, number: int) -> str:
        """Say how far it is, after frame `number`."""
        spent = max(self._clock() - self._start, 1e-9)
        rate = self._done / spent
        speed = f"{rate:.1f} frames/s" if rate >= 1 else f"{1 / rate:.1f} s a frame"
        if self._total is None:
            return f"frame {number}, {speed}"
        left = (self._total - self._done) / rate
        return f"frame {number}, {self._done} of {self._total}, {speed}, {_span(left)} left"

    def close(self) -> None:
        """End the line on a terminal."""
        if self._line and self._last > self._start:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def row(result: Result) -> dict[str, Any]:
    """Describe a frame for one line of JSON."""
    return {
        "frame": result.number,
        "seconds": round(result.seconds, 6),
        "objects": [
            {
                "name": name,
                "present": one.present,
                "score": one.score,
                "iou_prediction": one.iou,
                "prompted": one.prompted,
                "area": int(one.mask.sum()),
                "box": bounding_box(one.mask),
            }
            for name, one in result.found.items()
        ],
        "ms": {"device": "host"} | {name: round(value, 3) for name, value in result.ms.items()},
    }


class Summary:
    """How long each object was there, for the last lines."""

    def __init__(self, objects: tuple[str, ...]) -> None:
        self._present = dict.fromkeys(objects, 0)
        self._looked = dict.fromkeys(objects, 0)
        self.frames = 0

    def add(self, result: Result) -> None:
        """Count a frame."""
        self.frames += 1
        for name, one in result.found.items():
            self._looked[name] += 1
            self._present[name] += one.present

    def lines(self) -> list[str]:
        """Say it, a line an object."""
        return [
            one_line(f"object {name}: there on {self._present[name]} of {looked} frames")
            for name, looked in self._looked.items()
        ]
