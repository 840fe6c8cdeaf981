"""Procedural volumes with known objects: a body of soft noise with ellipsoids in it. numpy.

They stand in for scans where numbers are compared, not where a network is judged: no published
weights were trained on anything like them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

OBJECTS = 3
_AIR, _BODY = -1000.0, 40.0
"""In the units of computed tomography, so that part of a volume is not above 0."""


@dataclass(frozen=True)
class VolumeScene:
    """A volume and its objects.

    Attributes:
        values: (X, Y, Z) int16.
        instances: (K, X, Y, Z) bool, the visible part of each object; no two overlap.
    """

    values: NDArray[np.int16]
    instances: NDArray[np.bool_]


def volume_scene(seed: int, shape: tuple[int, int, int]) -> VolumeScene:
    """Compose the volume of a seed; objects lie apart, each in a part of the first axis."""
    rng = Generator(PCG64(seed))
    axes = [np.linspace(-1, 1, side)[_along(axis)] for axis, side in enumerate(shape)]
    body = sum((axis / 0.9) ** 2 for axis in axes) < 1
    waves = sum(np.sin(rng.uniform(3, 9) * axis + rng.uniform(0, 6)) for axis in axes)
    values = np.where(body, _BODY + 12 * waves, _AIR)
    masks = []
    for index in range(OBJECTS):
        middle = ((index + 0.5) / OBJECTS * 1.2 - 0.6, *rng.uniform(-0.35, 0.35, 2))
        radii = (0.17, *rng.uniform(0.12, 0.3, 2))
        parts = zip(axes, middle, radii, strict=True)
        mask = sum(((axis - at) / radius) ** 2 for axis, at, radius in parts) < 1
        values = np.where(mask, rng.uniform(100, 400) + 8 * waves, values)
        masks.append(np.broadcast_to(mask, shape))
    return VolumeScene(np.rint(values).astype(np.int16), np.stack(masks))


def _along(axis: int) -> tuple[slice | None, ...]:
    return tuple(slice(None) if each == axis else None for each in range(3))


def voxel_inside(mask: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The voxel of an object nearest to its middle."""
    places = np.argwhere(mask)
    nearest = places[np.argmin(((places - places.mean(0)) ** 2).sum(1))]
    return float(nearest[0]), float(nearest[1]), float(nearest[2])
