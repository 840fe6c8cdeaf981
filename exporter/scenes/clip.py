"""Procedural clips with known objects, for training and judging the demo's memory. numpy, Pillow.

A clip is a scene whose objects swing, turn and grow a little, each on its own path and at its own
depth: they pass behind each other, and some leave the picture and come back. Often a wall stands in
front, and often an object has a twin of the same shape: what tells them apart is its colours, or
nothing but where it was. The background stands still or pans.

Seeds are those of `exporter.scenes.scene`: from `HELD_OUT` on never trained on.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from exporter.scenes.scene import MIN_AREA, background, rasterise
from exporter.scenes.shapes import Shape, place
from exporter.scenes.textures import Field, paint

NOBODY = -1
"""Owner of a pixel of the background."""

Matrix = NDArray[np.float64]
"""(2, 2)."""


@dataclass(frozen=True)
class Clip:
    """Pictures in a row, and their objects.

    Attributes:
        frames: (F, H, W, 3) uint8, RGB.
        owners: (F, H, W) int8, the number of the object that a pixel shows, or `NOBODY`.
        shown: (F, K) float32, the share of each object, also of what is outside the picture, that
            is seen: 0..1.
    """

    frames: NDArray[np.uint8]
    owners: NDArray[np.int8]
    shown: NDArray[np.float32]

    def masks(self, number: int) -> NDArray[np.bool_]:
        """(F, H, W): where an object is seen."""
        return self.owners == number

    def clear(self) -> list[int]:
        """Number the objects that the first frame shows well: what can be asked for there."""
        whole, smallest = self.shown[0] >= 0.6, MIN_AREA * self.owners[0].size
        return [n for n in np.flatnonzero(whole) if (self.owners[0] == n).sum() >= smallest]


@dataclass(frozen=True)
class _Path:
    """A swing along both axes about a centre, and a turn; lengths in pixels, times in frames."""

    centre: NDArray[np.float64]
    swing: NDArray[np.float64]
    period: NDArray[np.float64]
    phase: NDArray[np.float64]
    angle: float
    turn: float
    growth: float

    def at(self, frame: float) -> tuple[NDArray[np.float64], Matrix]:
        """Say where the centre is, and what turns and scales the object about it."""
        waves = np.sin(2 * np.pi * frame / self.period + self.phase)
        angle, scale = self.angle + self.turn * frame, 1 + self.growth * waves[0]
        cos, sin = math.cos(angle), math.sin(angle)
        return self.centre + self.swing * waves, scale * np.array([[cos, -sin], [sin, cos]])


@dataclass(frozen=True)
class _Actor:
    """An object: its outline about the origin, the square picture on it, and its path."""

    shape: Shape
    texture: Image.Image
    path: _Path

    @property
    def area(self) -> float:
        """Pixels that it covers at its first size."""
        outer, *holes = (_area(outline) for outline in self.shape)
        return outer - sum(holes)


@dataclass(frozen=True)
class _Camera:
    """Exposure and faults, the same on every frame but for the noise."""

    contrast: float
    brightness: float
    blur: float
    noise: float

    def photograph(self, rng: Generator, canvas: Field) -> NDArray[np.uint8]:
        """Make a frame of a canvas."""
        exposed = (canvas - 0.5) * np.float32(self.contrast) + np.float32(0.5 + self.brightness)
        picture = Image.fromarray((np.clip(exposed, 0, 1) * 255).astype(np.uint8))
        blurred = np.asarray(picture.filter(ImageFilter.BoxBlur(self.blur)), np.float32)
        noise = rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(self.noise)
        return np.clip(blurred + noise, 0, 255).astype(np.uint8)


def clip(seed: int, height: int, width: int, frames: int) -> Clip:
    """Compose the clip of a seed.

    Args:
        seed: decides everything; see `exporter.scenes.scene.HELD_OUT`.
        height: in pixels.
        width: in pixels.
        frames: of the clip; a longer one begins with the same.
    """
    rng = Generator(PCG64([seed, 1]))  # another stream than the scene's of the same seed
    unit = min(height, width) / 256
    pan = round(0.12 * min(height, width)) if rng.random() < 0.5 else 0
    surface = background(rng, height + 2 * pan, width + 2 * pan, unit)
    actors = _actors(rng, height, width, surface)
    drift = _path(rng, np.zeros(2), pan, 0.0)
    contrast, brightness = rng.uniform(0.8, 1.15), rng.uniform(-0.08, 0.08)
    camera = _Camera(contrast, brightness, rng.uniform(0, 0.5) * unit, rng.uniform(0.5, 6))
    pictures = np.empty((frames, height, width, 3), np.uint8)
    owners = np.full((frames, height, width), NOBODY, np.int8)
    shown = np.zeros((frames, len(actors)), np.float32)
    for at in range(frames):
        left, top = np.rint(drift.at(at)[0]).astype(int) + pan
        canvas = surface[top : top + height, left : left + width].copy()
        areas = [
            _paint(actor, number, at, canvas, owners[at]) for number, actor in enumerate(actors)
        ]
        counts = np.bincount(owners[at][owners[at] != NOBODY], minlength=len(actors))
        shown[at] = np.minimum(counts / areas, 1)
        pictures[at] = camera.photograph(rng, canvas)
    return Clip(pictures, owners, shown)


def _actors(rng: Generator, height: int, width: int, surface: Field) -> list[_Actor]:
    """Draw three to five objects, from back to front; with a twin and a wall among them, or not."""
    side, behind = min(height, width), surface.mean(axis=(0, 1))
    sides = np.array([width, height])
    actors = []
    for _ in range(int(rng.integers(3, 6))):
        shape = place(rng, (0.0, 0.0), side * (0.11 + 0.13 * rng.random() ** 1.3))
        path = _path(rng, rng.uniform(0.12, 0.88, 2) * sides, side * _reach(rng), 0.12)
        actors.append(_Actor(shape, _texture(rng, shape, side / 256, behind), path))
    if rng.random() < 0.6:
        path = _path(rng, rng.uniform(0.12, 0.88, 2) * sides, side * _reach(rng), 0.12)
        twin = dataclasses.replace(
            actors[0], path=path, texture=_recoloured(rng, actors[0].texture)
        )
        actors.insert(int(rng.integers(len(actors) + 1)), twin)
    if rng.random() < 0.5:
        shape = _wall(rng, side)
        path = _path(rng, rng.uniform(0.25, 0.75, 2) * sides, 0.0, 0.0)
        path = dataclasses.replace(path, turn=0.0)
        actors.append(_Actor(shape, _texture(rng, shape, side / 256, behind), path))
    return actors


def _reach(rng: Generator) -> float:
    """Draw how far an object swings to each side, as a share of the picture's; some stand still."""
    return 0.02 if rng.random() < 0.15 else float(rng.uniform(0.1, 0.6))


def _path(rng: Generator, centre: NDArray[np.float64], reach: float, growth: float) -> _Path:
    """Draw a path: `reach` in pixels, `growth` the most that the object grows and shrinks by."""
    return _Path(
        centre=centre,
        swing=reach * rng.uniform(0.3, 1.0, 2),
        period=rng.uniform(18, 44, 2),
        phase=rng.uniform(0, 2 * np.pi, 2),
        angle=float(rng.uniform(0, 2 * np.pi)),
        turn=float(rng.uniform(-0.08, 0.08)),
        growth=growth * float(rng.uniform(-1, 1)),
    )


def _wall(rng: Generator, side: int) -> Shape:
    """A board wide enough to hide what passes behind it, and longer than the picture's side."""
    wide, long = side * rng.uniform(0.12, 0.22), side * rng.uniform(0.4, 0.8)
    return (np.array([[-long, -wide], [long, -wide], [long, wide], [-long, wide]]),)


def _texture(rng: Generator, shape: Shape, unit: float, avoid: Field) -> Image.Image:
    """Paint a square that an outline about the origin lies in, whichever way it is turned."""
    side = 2 * math.ceil(1.05 * float(np.linalg.norm(shape[0], axis=1).max())) + 4
    return Image.fromarray(
        (np.clip(paint(rng, (side, side), unit, avoid), 0, 1) * 255).astype("u1")
    )


def _recoloured(rng: Generator, texture: Image.Image) -> Image.Image:
    """Exchange the colours' channels, or, of one in four, nothing."""
    turns = int(rng.integers(4)) % 3
    return Image.fromarray(np.roll(np.asarray(texture), turns, axis=2))


def _paint(
    actor: _Actor, number: int, frame: int, canvas: Field, owners: NDArray[np.int8]
) -> float:
    """Put an object on a frame's canvas (H, W, 3) and its number on what it hides, in place.

    Returns the pixels that it would cover, if nothing hid it.
    """
    centre, matrix = actor.path.at(frame)
    moved = tuple(outline @ matrix.T + centre for outline in actor.shape)
    cover = rasterise(moved, *owners.shape)
    whole = max(1.0, actor.area * abs(float(np.linalg.det(matrix))))
    if cover is None:
        return whole
    back = np.linalg.inv(matrix)
    corner = np.array([cover.cols.start, cover.rows.start]) - centre
    left, top = back @ corner + actor.texture.width / 2
    height, width = cover.alpha.shape
    colours = actor.texture.transform(
        (width, height), Image.Transform.AFFINE, (*back[0], left, *back[1], top),
        Image.Resampling.BILINEAR,
    )  # fmt: skip
    below = canvas[cover.rows, cover.cols]
    painted = np.asarray(colours, np.float32) / np.float32(255)
    below += (painted - below) * cover.alpha[..., None]
    owners[cover.rows, cover.cols][cover.alpha >= 0.5] = number
    return whole


def _area(outline: NDArray[np.float64]) -> float:
    """Area of a polygon."""
    x, y = outline.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
