"""One picture of a volume with a mask: rows of slices along each axis."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from exporter.bundle.preprocess import Bools, Bytes
from exporter.bundle.prompts import Prompts
from exporter.bundle.voxels import Clicks, Cube
from runtimes.overlay import Look, add_caption, colour_of, draw_prompts, side_by_side, tint
from runtimes.volumes import Volume

COLUMNS = 5
PANEL = 256
"""Pixels of a panel's longer side."""
_GAP = 4
_LETTERS = ("I", "J", "K")
_DARK = (24, 24, 24)
_PERCENTILES = (1.0, 99.0)
"""Of the cube's values: black and white."""


def montage(volume: Volume, cube: Cube, mask: Bools, clicks: Clicks) -> Image.Image:
    """Draw slices through the mask, with the clicks on theirs; what shows is the cube alone.

    Args:
        volume: as it was read.
        cube: where the network looked.
        mask: (X, Y, Z), as the volume is turned.
        clicks: likewise.
    """
    shown = _windowed(volume.values, cube)
    rows = [_row(shown, volume, cube, mask, clicks, axis) for axis in range(3)]
    width = max(row.width for row in rows)
    height = sum(row.height for row in rows) + _GAP * 2
    sheet = Image.new("RGB", (width, height), _DARK)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + _GAP
    return sheet


def _windowed(values: npt.NDArray[np.generic], cube: Cube) -> Bytes:
    """The cube's part of the volume as grey bytes."""
    held = np.ix_(*(cube.holds(axis) for axis in range(3)))
    part = values[held].astype(np.float64)
    low, high = np.percentile(part, _PERCENTILES)
    grey: Bytes = (np.clip((part - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)
    return grey


def _row(
    shown: Bytes, volume: Volume, cube: Cube, mask: Bools, clicks: Clicks, axis: int
) -> Image.Image:
    first = [int(cube.holds(each)[0]) for each in range(3)]
    held = np.ix_(*(cube.holds(each) for each in range(3)))
    inside = mask[held]
    panels = []
    for plane in _planes(inside, clicks, first[axis], axis):
        label = f"{_LETTERS[axis]} {plane + first[axis]}"
        picture = _panel(shown, inside, volume, axis, plane)
        marked = _marks(clicks, first, axis, plane, picture.size, inside.shape)
        draw_prompts(picture, marked, Look.of(picture.size))
        panels.append(add_caption(picture, label))
    return side_by_side(panels, _GAP)


def _planes(inside: Bools, clicks: Clicks, first: int, axis: int) -> list[int]:
    """Planes through the mask's extent, evenly, with those of the clicks among them."""
    others = tuple(each for each in range(3) if each != axis)
    there = np.flatnonzero(inside.any(axis=others))
    last = inside.shape[axis] - 1
    low, high = (int(there[0]), int(there[-1])) if len(there) else (0, last)
    clicked = [min(max(round(p[axis]) - first, 0), last) for p in clicks.points][:COLUMNS]
    chosen = list(dict.fromkeys(clicked))
    for plane in np.rint(np.linspace(low, high, COLUMNS)).astype(int).tolist():
        if len(chosen) < COLUMNS and plane not in chosen:
            chosen.append(plane)
    return sorted(chosen)


def _panel(shown: Bytes, inside: Bools, volume: Volume, axis: int, plane: int) -> Image.Image:
    """A plane with its first axis to the right and its second up, in the volume's proportions."""
    grey, mask = (np.take(each, plane, axis).T[::-1] for each in (shown, inside))
    wide, tall = _size(volume, axis, inside.shape)
    base = Image.fromarray(np.ascontiguousarray(grey)).resize((wide, tall)).convert("RGB")
    large = Image.fromarray(np.ascontiguousarray(mask).astype(np.uint8) * np.uint8(255))
    fitted = np.asarray(large.resize((wide, tall), Image.Resampling.NEAREST)) > 0
    return tint(base, fitted, colour_of(0), 1)


def _size(volume: Volume, axis: int, shape: tuple[int, ...]) -> tuple[int, int]:
    spacing = volume.spacing or (1.0, 1.0, 1.0)
    across, up = (each for each in range(3) if each != axis)
    wide, tall = shape[across] * spacing[across], shape[up] * spacing[up]
    scale = PANEL / max(wide, tall)
    return max(1, round(wide * scale)), max(1, round(tall * scale))


def _marks(
    clicks: Clicks,
    first: list[int],
    axis: int,
    plane: int,
    size: tuple[int, int],
    shape: tuple[int, ...],
) -> Prompts:
    """The clicks on a plane, in pixels of its panel."""
    across, up = (each for each in range(3) if each != axis)
    points, labels = [], []
    for point, label in zip(clicks.points, clicks.labels, strict=True):
        if round(point[axis]) - first[axis] == plane:
            x = (point[across] - first[across] + 0.5) * size[0] / shape[across]
            y = size[1] - (point[up] - first[up] + 0.5) * size[1] / shape[up]
            points.append((x, y))
            labels.append(label)
    return Prompts(tuple(points), tuple(labels))
