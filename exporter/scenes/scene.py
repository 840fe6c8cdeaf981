"""Procedural scenes with known objects, all that the demo model is trained on. numpy and Pillow.

A scene is a textured background and three to seven textured objects that hide each other, throw
shadows and run out of the picture, seen by a camera with blur, noise and changing exposure.

Seeds below `HELD_OUT` are for training, seeds from `HELD_OUT` on are never trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from exporter.scenes.shapes import Shape, place
from exporter.scenes.textures import Field, paint, value_noise

HELD_OUT = 10_000_000
"""The first seed that training never uses."""

OVERSAMPLE = 2
MIN_AREA = 0.008
"""Least share of the picture that an instance's visible part must cover."""

MIN_VISIBLE = 0.5
"""Least share of an instance that must be visible."""


@dataclass(frozen=True)
class Scene:
    """A picture and its objects.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        instances: (K, H, W) bool, the visible part of each object; no two overlap.
    """

    image: NDArray[np.uint8]
    instances: NDArray[np.bool_]


@dataclass(frozen=True)
class Cover:
    """Share of each pixel that an object covers, inside its bounding box."""

    rows: slice
    cols: slice
    alpha: Field


def scene(seed: int, height: int, width: int) -> Scene:
    """Compose the scene of a seed.

    Args:
        seed: decides everything; see `HELD_OUT`.
        height: in pixels.
        width: in pixels.
    """
    rng = Generator(PCG64(seed))
    unit = min(height, width) / 256
    canvas = background(rng, height, width, unit)
    owner = np.full((height, width), -1, np.int16)
    areas = []
    centres: list[tuple[float, float]] = []
    for index in range(int(rng.integers(3, 8))):
        centres.append(_centre(rng, centres, height, width))
        cover = rasterise(_shape(rng, centres[-1], min(height, width)), height, width)
        areas.append(0 if cover is None else int((cover.alpha >= 0.5).sum()))
        if cover is None:
            continue
        _add_object(rng, canvas, cover, unit)
        owner[cover.rows, cover.cols][cover.alpha >= 0.5] = index
    return Scene(_photograph(rng, canvas, unit), _visible(owner, areas))


def background(rng: Generator, height: int, width: int, unit: float) -> Field:
    """Make a textured surface under large clouds of another colour."""
    surface = paint(rng, (height, width), unit * 1.5, np.full(3, -1, np.float32))
    tint = rng.uniform(-0.25, 0.25, 3).astype(np.float32)
    clouds = value_noise(rng, height, width, float(rng.uniform(2, 5)))
    return surface + clouds[..., None] * tint


def _centre(
    rng: Generator, taken: list[tuple[float, float]], height: int, width: int
) -> tuple[float, float]:
    """Pick, of three random places, the one farthest from the centres already taken."""
    places = [tuple(place) for place in rng.uniform(0.03, 0.97, (3, 2)) * (width, height)]
    return max(
        places, key=lambda place: min((math.dist(place, other) for other in taken), default=0)
    )


def _shape(rng: Generator, centre: tuple[float, float], side: int) -> Shape:
    """Draw a shape at a centre, more often small than large. `side`: the picture's shorter side."""
    return place(rng, centre, side * (0.13 + 0.20 * rng.random() ** 1.3))


def rasterise(shape: Shape, height: int, width: int) -> Cover | None:
    """Rasterise at `OVERSAMPLE` times the size, then average. None if outside the picture."""
    low = np.floor(shape[0].min(axis=0)).astype(int)
    high = np.ceil(shape[0].max(axis=0)).astype(int) + 1
    x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
    x1, y1 = min(int(high[0]), width), min(int(high[1]), height)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return None
    fine = Image.new("L", ((x1 - x0) * OVERSAMPLE, (y1 - y0) * OVERSAMPLE))
    draw = ImageDraw.Draw(fine)
    for index, outline in enumerate(shape):
        # Whole numbers, for the same pixels on every machine: sines differ in the last digit.
        corners = np.rint((outline - (x0, y0)) * OVERSAMPLE).astype(int)
        draw.polygon([(int(x), int(y)) for x, y in corners], fill=0 if index else 255)
    alpha = np.asarray(fine.reduce(OVERSAMPLE), np.float32) / np.float32(255)
    return Cover(slice(y0, y1), slice(x0, x1), alpha)


def _add_object(rng: Generator, canvas: Field, cover: Cover, unit: float) -> None:
    """Put one object on the canvas, in place, sometimes with a shadow."""
    if rng.random() < 0.4:
        _shadow(rng, canvas, cover, unit)
    below = canvas[cover.rows, cover.cols]
    colours = paint(rng, cover.alpha.shape, unit, below.mean(axis=(0, 1)))
    below += (colours - below) * cover.alpha[..., None]


def _shadow(rng: Generator, canvas: Field, cover: Cover, unit: float) -> None:
    """Darken the canvas beside the object, inside its bounding box moved by a few pixels."""
    dx, dy = (round(float(d) * unit) for d in rng.uniform(-7, 7, 2))
    strength, blur = np.float32(rng.uniform(0.15, 0.5)), float(rng.uniform(1, 4)) * unit
    height, width = canvas.shape[:2]
    y0, y1 = max(cover.rows.start + dy, 0), min(cover.rows.stop + dy, height)
    x0, x1 = max(cover.cols.start + dx, 0), min(cover.cols.stop + dx, width)
    grey = Image.fromarray((cover.alpha * 255).astype(np.uint8))
    soft = np.asarray(grey.filter(ImageFilter.BoxBlur(blur)), np.float32) / np.float32(255)
    top, left = cover.rows.start + dy, cover.cols.start + dx
    part = soft[y0 - top : y1 - top, x0 - left : x1 - left]
    canvas[y0:y1, x0:x1] *= 1 - strength * part[..., None]


def _photograph(rng: Generator, canvas: Field, unit: float) -> NDArray[np.uint8]:
    """Apply exposure, a little blur, sensor noise and eight bits."""
    contrast, brightness = rng.uniform(0.75, 1.2), rng.uniform(-0.1, 0.1)
    exposed = (canvas - 0.5) * np.float32(contrast) + np.float32(0.5 + brightness)
    picture = Image.fromarray((np.clip(exposed, 0, 1) * 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.BoxBlur(float(rng.uniform(0, 0.6)) * unit))
    noise = rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(0.5, 7))
    return np.clip(np.asarray(picture, np.float32) + noise, 0, 255).astype(np.uint8)


def _visible(owner: NDArray[np.int16], areas: list[int]) -> NDArray[np.bool_]:
    """Make (K, H, W), one mask for each object that is visible enough."""
    counts = np.bincount(owner[owner >= 0], minlength=len(areas))
    smallest = MIN_AREA * owner.size
    kept = [
        index
        for index, area in enumerate(areas)
        if counts[index] >= max(smallest, MIN_VISIBLE * area)
    ]
    return owner[None] == np.array(kept, np.int16).reshape(-1, 1, 1)


def point_inside(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Find the pixel (x, y) of a mask (H, W) nearest to its centroid."""
    rows, cols = np.nonzero(mask)
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2))
    return float(cols[nearest]), float(rows[nearest])


def box_around(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Find x0, y0, x1, y1 around a mask (H, W)."""
    rows, cols = np.nonzero(mask)
    return float(cols.min()), float(rows.min()), float(cols.max() + 1), float(rows.max() + 1)
