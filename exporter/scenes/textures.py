"""Textures of the demo scenes: fields of values in 0..1 that blend two colours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]
"""(H, W), or (H, W, 3) when it holds colours."""


def value_noise(rng: Generator, height: int, width: int, cells: float, octaves: int = 3) -> Field:
    """Smooth noise in 0..1: random grids enlarged and added, each finer and weaker.

    Args:
        rng: the only source of randomness.
        height: in pixels.
        width: in pixels.
        cells: grid cells along the longer side, in the coarsest octave.
        octaves: number of grids.
    """
    total = np.zeros((height, width), np.float32)
    longest, weight, weights = max(height, width), 1.0, 0.0
    for _ in range(octaves):
        rows = max(2, round(cells * height / longest))
        cols = max(2, round(cells * width / longest))
        grid = Image.fromarray(rng.random((rows, cols), dtype=np.float32))
        total += weight * np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))
        weights += weight
        cells, weight = cells * 2.1, weight * 0.55
    return np.clip((total / weights - 0.5) * 1.8 + 0.5, 0.0, 1.0)


def _axes(rng: Generator, height: int, width: int) -> tuple[Field, Field]:
    """Pixel coordinates along two perpendicular axes at a random angle."""
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    return cos * x + sin * y, cos * y - sin * x


def _wave(along: Field, period: float, sharpness: float) -> Field:
    """Make a wave in 0..1; sharpness 1 is a sine, higher is closer to a square."""
    wave = np.sin(along * np.float32(2 * np.pi / period))
    return np.clip(wave * np.float32(sharpness * 0.5) + 0.5, 0.0, 1.0)


def flat(rng: Generator, height: int, width: int, unit: float) -> Field:
    """Fill with one colour."""
    del rng, unit
    return np.zeros((height, width), np.float32)


def gradient(rng: Generator, height: int, width: int, unit: float) -> Field:
    """From one colour to the other across the whole."""
    del unit
    along, _ = _axes(rng, height, width)
    low, high = along.min(), along.max()
    return (along - low) / max(high - low, np.float32(1))


def stripes(rng: Generator, height: int, width: int, unit: float) -> Field:
    """Parallel bands."""
    along, _ = _axes(rng, height, width)
    return _wave(along, unit * rng.uniform(6, 16), rng.uniform(1, 5))


def checks(rng: Generator, height: int, width: int, unit: float) -> Field:
    """Draw a chessboard."""
    along, across = _axes(rng, height, width)
    period = unit * rng.uniform(8, 20)
    a, b = _wave(along, period, 6), _wave(across, period, 6)
    return a + b - 2 * a * b


def spots(rng: Generator, height: int, width: int, unit: float) -> Field:
    """Discs on a square lattice."""
    along, across = _axes(rng, height, width)
    period = unit * rng.uniform(8, 18)
    angle = np.float32(2 * np.pi / period)
    lattice = np.cos(along * angle) + np.cos(across * angle)
    return np.clip(lattice * np.float32(2) - np.float32(rng.uniform(0.5, 2.0)), 0.0, 1.0)


def clouds(rng: Generator, height: int, width: int, unit: float) -> Field:
    """Value noise."""
    cells = max(height, width) / (unit * rng.uniform(10, 40))
    return value_noise(rng, height, width, cells)


def grain(rng: Generator, height: int, width: int, unit: float) -> Field:
    """Fine value noise."""
    cells = max(height, width) / (unit * rng.uniform(2.5, 5))
    return value_noise(rng, height, width, cells, octaves=1)


TEXTURES: tuple[Callable[[Generator, int, int, float], Field], ...] = (
    flat, gradient, stripes, checks, spots, clouds, grain,
)  # fmt: skip


def paint(rng: Generator, size: tuple[int, int], unit: float, avoid: Field) -> Field:
    """Paint one textured, shaded surface: (H, W, 3) colours in 0..1.

    Args:
        rng: the only source of randomness.
        size: height and width in pixels.
        unit: pixels that a texture's finest detail measures, relative to a 256 pixel scene.
        avoid: (3,) a colour that the surface differs from.
    """
    height, width = size
    texture = TEXTURES[int(rng.integers(len(TEXTURES)))](rng, height, width, unit)
    first = distinct_colour(rng, avoid)
    second = np.clip(first + rng.uniform(-0.27, 0.27, 3).astype(np.float32), 0.0, 1.0)
    shade = 1.0 + (gradient(rng, height, width, unit) - 0.5) * np.float32(rng.uniform(0.0, 0.5))
    return (first + (second - first) * texture[..., None]) * shade[..., None]


def distinct_colour(rng: Generator, avoid: Field) -> Field:
    """Pick (3,), the first of up to eight random colours at least 0.35 away from `avoid`."""
    colour = _colour(rng)
    for _ in range(7):
        if np.abs(colour - avoid).max() > 0.35:
            break
        colour = _colour(rng)
    return colour


def _colour(rng: Generator) -> Field:
    return rng.uniform(0.05, 0.95, 3).astype(np.float32)
