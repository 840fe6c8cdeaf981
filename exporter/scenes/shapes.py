"""Outlines of the demo scenes' objects: polygons around the origin with a radius of about one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Outline = NDArray[np.float64]
"""(n, 2) vertices, x and y."""

Shape = tuple[Outline, ...]
"""The outer outline, then the outlines of its holes."""


def _circle(vertices: int = 40, radius: float = 1.0) -> Outline:
    angles = np.arange(vertices) * (2 * np.pi / vertices)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ellipse(rng: Generator) -> Shape:
    """Draw a disc; `place` stretches it."""
    del rng
    return (_circle(),)


def polygon(rng: Generator) -> Shape:
    """Three to seven corners, not quite regular."""
    corners = int(rng.integers(3, 8))
    angles = (np.arange(corners) + rng.uniform(-0.25, 0.25, corners)) * (2 * np.pi / corners)
    return (np.stack([np.cos(angles), np.sin(angles)], axis=1),)


def rounded_rectangle(rng: Generator) -> Shape:
    """Draw a rectangle whose corners are arcs."""
    half = np.array([1.0, rng.uniform(0.55, 1.0)]) * 0.9
    radius = half.min() * rng.uniform(0.0, 0.6)
    angles = np.arange(32) * (2 * np.pi / 32) + np.pi / 32
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (np.sign(arc) * (half - radius) + arc * radius,)


def star(rng: Generator) -> Shape:
    """Four to eight points."""
    points = int(rng.integers(4, 9))
    radii = np.where(np.arange(2 * points) % 2 == 0, 1.15, rng.uniform(0.5, 0.75))
    return (_circle(2 * points) * radii[:, None],)


def blob(rng: Generator) -> Shape:
    """Draw a smooth closed curve: a circle whose radius has a few Fourier terms."""
    angles = np.arange(48) * (2 * np.pi / 48)
    radii = np.ones(48)
    for order in range(2, 6):
        radii += rng.uniform(0.0, 0.45) / order * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    return (_circle(48) * radii[:, None],)


def ring(rng: Generator) -> Shape:
    """Draw a disc with a round hole, through which the scene behind shows."""
    return _circle(), _circle(radius=float(rng.uniform(0.35, 0.6)))


def bar(rng: Generator) -> Shape:
    """Draw a long, rather thin rectangle."""
    thin = rng.uniform(0.28, 0.42)
    return (np.array([[-1.3, -thin], [1.3, -thin], [1.3, thin], [-1.3, thin]]),)


def cross(rng: Generator) -> Shape:
    """Draw a plus sign."""
    arm = rng.uniform(0.3, 0.45)
    quarter = np.array([[arm, 1.0], [arm, arm], [1.0, arm]])
    turns = [np.array([[c, -s], [s, c]]) for c, s in ((1, 0), (0, -1), (-1, 0), (0, 1))]
    return (np.concatenate([quarter @ turn.T for turn in turns]),)


def letter(rng: Generator) -> Shape:
    """Draw a heavy capital: L, T, U or an arrow head."""
    arm = rng.uniform(0.35, 0.5)
    glyphs = (
        [[-0.8, -1], [-0.8 + 2 * arm, -1], [-0.8 + 2 * arm, 1 - 2 * arm],
         [0.9, 1 - 2 * arm], [0.9, 1], [-0.8, 1]],
        [[-1, -1], [1, -1], [1, -1 + 2 * arm], [arm, -1 + 2 * arm], [arm, 1],
         [-arm, 1], [-arm, -1 + 2 * arm], [-1, -1 + 2 * arm]],
        [[-1, -1], [-0.3, -1], [-0.3, 0.3], [0.3, 0.3], [0.3, -1], [1, -1], [1, 1], [-1, 1]],
        [[0, -1.1], [1, 0.1], [arm, 0.1], [arm, 1], [-arm, 1], [-arm, 0.1], [-1, 0.1]],
    )  # fmt: skip
    return (np.array(glyphs[int(rng.integers(len(glyphs)))], dtype=np.float64),)


SHAPES: tuple[Callable[[Generator], Shape], ...] = (
    ellipse, polygon, rounded_rectangle, star, blob, blob, ring, bar, cross, letter,
)  # fmt: skip


def place(rng: Generator, centre: tuple[float, float], radius: float) -> Shape:
    """Draw a shape at random; stretch it, turn it, scale it to `radius` pixels, put it at `centre`.

    Args:
        rng: the only source of randomness.
        centre: x and y in pixels.
        radius: in pixels.
    """
    make = SHAPES[int(rng.integers(len(SHAPES)))]
    shape = make(rng)
    stretch = rng.uniform(1.0, 1.6) ** 0.5
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = radius * turn * np.array([stretch, 1.0 / stretch])
    return tuple(outline @ matrix.T + np.array(centre) for outline in shape)
