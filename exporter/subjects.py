"""What a network is asked about: a procedural scene, or one of the user's pictures.

A scene knows its objects. In a picture they are what the float32 network itself finds: by the
user's prompts, or by clicks on a grid, of which the surest masks are kept. So prompts of every kind
can be made for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bools, Floats, Frame
from exporter.bundle.prompts import Prompts
from exporter.scenes.scene import Scene, scene

Image = npt.NDArray[np.uint8] | Floats
Ask = Callable[[Sequence[Prompts]], Sequence[tuple[float, Bools]]]
"""Prompt sets -> for each the network's best mask (H, W), in the frame's picture, and its score."""

GRID = (0.2, 0.5, 0.8)
"""Places of the clicks, as shares of a side."""
OBJECTS = 4
"""Kept of what the clicks find."""
LEAST_AREA, MOST_AREA = 0.002, 0.6
"""Shares of the picture that an object covers."""
SAME = 0.5
"""IoU of two masks from which on they are the same object."""


class Subject(Protocol):
    """A picture, and prompts on it."""

    @property
    def image(self) -> Image:
        """(1, 3, S, S) RGB in 0..255, as the network takes it."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture itself."""
        ...

    @property
    def frame(self) -> Frame:
        """Where the picture lies in the input, as `seen_frame` says it."""
        ...

    @property
    def given(self) -> tuple[Prompts, ...]:
        """The user's own prompts."""
        ...

    def instances(self, ask: Ask | None) -> Bools:
        """Find at least two objects, (K, H, W) in the frame's picture.

        Args:
            ask: the float32 network; None for one that is too slow to be asked.
        """
        ...


@dataclass(frozen=True)
class SceneSubject:
    """The procedural scene of a seed; it fills the input, whose height and width are `sides`."""

    seed: int
    sides: tuple[int, int]

    @cached_property
    def _scene(self) -> Scene:
        return scene(self.seed, *self.sides)

    @property
    def image(self) -> Image:
        """See `Subject`."""
        return np.ascontiguousarray(self._scene.image.transpose(2, 0, 1)[None])

    @property
    def size(self) -> tuple[int, int]:
        """See `Subject`."""
        return self.sides[1], self.sides[0]

    @property
    def frame(self) -> Frame:
        """See `Subject`."""
        square = self.sides[0] == self.sides[1]
        return Frame(self.size, self.size, max(self.size), sides=None if square else self.size)

    @property
    def given(self) -> tuple[Prompts, ...]:
        """See `Subject`."""
        return ()

    def instances(self, ask: Ask | None) -> Bools:
        """See `Subject`."""
        del ask
        return self._scene.instances


@dataclass(frozen=True)
class PictureSubject:
    """One of the user's pictures, as `runtimes.calibration_pictures` keeps it in `file`."""

    file: Path
    size: tuple[int, int]
    frame: Frame
    given: tuple[Prompts, ...] = ()

    @property
    def image(self) -> Image:
        """See `Subject`."""
        with np.load(self.file, allow_pickle=False) as arrays:
            image: Floats = arrays["image"]
        return image

    def instances(self, ask: Ask | None) -> Bools:
        """See `Subject`."""
        width, height = self.frame.original
        found: list[Bools] = []
        if ask is not None and self.given:
            answers = (mask for _, mask in ask(self.given))
            found += [mask for mask in answers if mask.any()]
        elif ask is not None:
            clicks = [Prompts(((x * width, y * height),), (1,)) for y in GRID for x in GRID]
            found += _distinct(ask(clicks))
        else:
            found += [_around(each, width, height) for each in self.given]
        return np.stack((found + _quarters(width, height))[: max(2, len(found))])


def _distinct(answers: Sequence[tuple[float, Bools]]) -> list[Bools]:
    """Keep the surest masks of the size of objects, each object once."""
    kept: list[Bools] = []
    for _, mask in sorted(answers, key=lambda each: -each[0]):
        fits = LEAST_AREA <= mask.mean() <= MOST_AREA
        if fits and all(_iou(mask, other) < SAME for other in kept):
            kept.append(mask)
    return kept[:OBJECTS]


def _iou(first: Bools, second: Bools) -> float:
    return float((first & second).sum() / (first | second).sum())


def _quarters(width: int, height: int) -> list[Bools]:
    """Stand in for objects that were not found: the picture's middle, and its upper left."""
    shares = ((0.25, 0.25, 0.75, 0.75), (0.05, 0.05, 0.45, 0.45))
    return [
        _box(s * width, t * height, u * width, v * height, (width, height)) for s, t, u, v in shares
    ]


def _around(prompts: Prompts, width: int, height: int) -> Bools:
    """The prompts' box, or a tenth of the picture around the first point."""
    if prompts.box is not None:
        return _box(*prompts.box, (width, height))
    x, y = prompts.points[0]
    wide, tall = width / 10, height / 10
    return _box(x - wide, y - tall, x + wide, y + tall, (width, height))


def _box(x0: float, y0: float, x1: float, y1: float, size: tuple[int, int]) -> Bools:
    """A mask that holds at least one pixel."""
    width, height = size
    left, top = min(max(int(x0), 0), width - 1), min(max(int(y0), 0), height - 1)
    mask = np.zeros((height, width), np.bool_)
    mask[top : max(top + 1, int(y1)), left : max(left + 1, int(x1))] = True
    return mask
