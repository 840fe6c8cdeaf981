"""A picture with each segment tinted and named."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from exporter.bundle.panoptic import Segment, Segments
from exporter.bundle.preprocess import Bytes
from runtimes.everything.outputs import overlay
from runtimes.overlay import Look

_GRID = 1024
"""Places along a side that a name may stand at: all pixels of a small picture."""
_RIM = 2
"""Of the letters, in pixels."""
_CUT = "..."

Box = tuple[float, float, float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Labels = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class _Name:
    """A text and half its width and height in pixels, with its rim."""

    text: str
    reach: tuple[float, float]


def drawn(rgb: Bytes, found: Segments) -> Image.Image:
    """Tint each segment, and write its class deep inside it, within the picture.

    The largest segment's name stands first; one that has no place left beside those is not written.
    """
    labels = _as_decoded(found.labels, rgb.shape[:2])
    picture = Image.fromarray(overlay(rgb, labels))
    font = ImageFont.load_default(max(10.0, Look.of(picture.size).radius * 1.5))
    pen = ImageDraw.Draw(picture)
    step = -(-max(picture.size) // _GRID)
    coarse = labels[step // 2 :: step, step // 2 :: step]
    depths, taken = edge_distances(coarse), list[Box]()
    for segment in sorted(found.segments, key=lambda each: -each.area):
        name = _name(segment, pen, font, picture.width)
        rows, columns = np.nonzero(coarse == segment.number)
        x = _inside(columns * step + step // 2, name.reach[0], picture.width)
        y = _inside(rows * step + step // 2, name.reach[1], picture.height)
        depth = np.where(_free(x, y, name, taken), depths[rows, columns], 0)
        if not depth.any():
            continue
        at = depth.argmax()
        place, (right, down) = (float(x[at]), float(y[at])), name.reach
        taken.append((place[0] - right, place[1] - down, place[0] + right, place[1] + down))
        pen.text(
            place, name.text, "white", font, anchor="mm", stroke_width=_RIM, stroke_fill="black"
        )
    return picture


def edge_distances(labels: Labels) -> npt.NDArray[np.int32]:
    """Count the steps to the sides from each pixel (H, W) until another label, or the border."""
    far = np.int32(sum(labels.shape))
    edge = np.ones(labels.shape, np.bool_)
    inner, middle = edge[1:-1, 1:-1], labels[1:-1, 1:-1]
    inner[:] = (middle != labels[:-2, 1:-1]) | (middle != labels[2:, 1:-1])
    inner |= (middle != labels[1:-1, :-2]) | (middle != labels[1:-1, 2:])
    steps = np.where(edge, np.int32(1), far)
    for axis in (0, 1):
        at = np.arange(labels.shape[axis], dtype=np.int32).reshape(
            (-1, 1) if axis == 0 else (1, -1)
        )
        before = np.minimum.accumulate(steps - at, axis) + at
        after = np.flip(np.minimum.accumulate(np.flip(steps + at, axis), axis), axis) - at
        steps = np.minimum(before, after)
    return steps


def _inside(centre: npt.NDArray[np.int64], reach: float, side: int) -> npt.NDArray[np.float64]:
    """Move centres so that what reaches so far from them lies within the picture."""
    return np.clip(centre, min(reach, side / 2), max(side - reach, side / 2)).astype(np.float64)


def _free(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], name: _Name, taken: list[Box]
) -> npt.NDArray[np.bool_]:
    """Tell of each centre whether the name there covers none that stands already."""
    free = np.ones(x.shape, np.bool_)
    right, down = name.reach
    for left, top, end, bottom in taken:
        beside = (x + right <= left) | (x - right >= end)
        free &= beside | (y + down <= top) | (y - down >= bottom)
    return free


def _name(segment: Segment, pen: ImageDraw.ImageDraw, font: Font, width: int) -> _Name:
    """Spell a segment's class in the font's letters, cut to the picture's width."""
    text = plain_name(segment)
    name = _measured(text, pen, font)
    while 2 * name.reach[0] > width and text:
        text = text[:-1]
        name = _measured(f"{text.rstrip()}{_CUT}", pen, font)
    return name


def plain_name(segment: Segment) -> str:
    """Spell its class without accents; by the segment's number if other letters are left.

    Pillow's own font has the letters of ASCII alone, and draws a box for each other.
    """
    apart = unicodedata.normalize("NFKD", segment.name)
    plain = "".join(each for each in apart if not unicodedata.combining(each))
    return plain if plain.isascii() else f"#{segment.number}"


def _measured(text: str, pen: ImageDraw.ImageDraw, font: Font) -> _Name:
    left, top, right, bottom = pen.textbbox((0, 0), text, font, anchor="mm", stroke_width=_RIM)
    return _Name(text, (max(-left, right), max(-top, bottom)))


def _as_decoded(labels: Labels, shape: tuple[int, ...]) -> Labels:
    """Shrink labels to a picture that was decoded at a part of its size."""
    if labels.shape == shape:
        return labels
    at = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for old, new in zip(labels.shape, shape, strict=True)
    )
    rows, columns = at
    return np.ascontiguousarray(labels[rows][:, columns])
