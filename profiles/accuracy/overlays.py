"""Masks drawn over their pictures: the cases that differ most, and some of all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Bools, Bytes
from exporter.bundle.prompts import Prompts
from profiles.accuracy.comparing import Compared
from profiles.accuracy.rows import compare_masks
from runtimes.gate import iou
from runtimes.overlay import overlay

SIDE = 480
"""Pixels of a panel's longer side."""
QUALITY = 85
Place = tuple[int, int]
"""Picture, and case of it."""


@dataclass(frozen=True)
class Chosen:
    """A case to draw, with the line above it."""

    place: Place
    title: str


@dataclass(frozen=True)
class Panel:
    """One picture of a row, and the lines below it."""

    name: str
    jpeg: bytes
    lines: tuple[str, ...]


def choose(found: Compared, count: int) -> list[Chosen]:
    """Choose cases to draw: half of them the worst masks of each bundle in turn, half of all."""
    worst = _worst(found)
    chosen: dict[Place, str] = {}
    names = list(worst)
    for turn in range(count):
        if not names or len(chosen) >= (count + 1) // 2:
            break
        name = names[turn % len(names)]
        fresh = (place for place in worst[name] if place not in chosen)
        place = next(fresh, None)
        if place is not None:
            chosen[place] = f"worst of {name}"
    everything = _spread_out(found)
    for place in everything:
        if len(chosen) >= count:
            break
        chosen.setdefault(place, "")
    return [Chosen(place, _title(found, place, why)) for place, why in chosen.items()]


def _worst(found: Compared) -> dict[str, list[Place]]:
    """Bundle -> its cases, those first that are the least like the reference's."""
    ordered = {}
    for row in found.rows:
        if row.reference:
            ious = compare_masks(found.answers[row.reference], found.answers[row.bundle])
            ordered[row.bundle] = sorted(ious, key=lambda place: (ious[place], place))
    return ordered


def _spread_out(found: Compared) -> list[Place]:
    """A case of each picture, of another kind each time; then the next cases of each."""
    answers = next(iter(found.answers.values()))
    places = [
        (turn, number, sorted(shot)[(number + turn) % len(shot)])
        for number, shot in enumerate(answers)
        for turn in range(len(shot))
    ]
    return [(number, case) for _, number, case in sorted(places)]


def _title(found: Compared, place: Place, why: str) -> str:
    shot = found.shots[place[0]]()
    title = f"{shot.name}, {shot.cases[place[1]].kind}"
    return f"{title}: {why}" if why else title


def draw(found: Compared, chosen: Chosen) -> Iterator[Panel]:
    """Draw a case: the object if it is known, then every bundle's mask."""
    number, place = chosen.place
    shot = found.shots[number]()
    case, rgb = shot.cases[place], shot.picture.rgb
    size = shot.picture.size
    blank = np.zeros((size[1], size[0]), np.bool_)
    name = "prompt" if case.truth is None else "prompt and object"
    yield Panel(name, jpeg(rgb, blank if case.truth is None else case.truth, case.prompts), ())
    for row in found.rows:
        mask = found.answers[row.bundle][number][place].mask
        lines = _lines(found, row.bundle, row.reference, (number, place))
        yield Panel(row.bundle, jpeg(rgb, mask, case.prompts), lines)


def _lines(found: Compared, bundle: str, reference: str, place: Place) -> tuple[str, ...]:
    number, case = place
    own = found.answers[bundle][number][case]
    if reference:
        other = found.answers[reference][number][case]
        first = f"IoU {iou(own.mask, other.mask):.3f} with the reference"
    else:
        first = "the reference"
    known = () if own.truth_iou is None else (f"{own.truth_iou:.3f} with the object",)
    return (first, *known)


def jpeg(rgb: Bytes, mask: Bools, prompts: Prompts) -> bytes:
    """Draw a mask over its picture, at the size of a panel: a photo's own may be far larger.

    Args:
        rgb: (h, w, 3), maybe smaller than the picture.
        mask: (H, W), of the picture.
        prompts: in its pixels.
    """
    height, width = mask.shape
    scale = SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
    area = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST), np.bool_)
    one = Masks(area[None], np.zeros(1, np.float32), np.zeros((1, 1, 1), np.float32))
    stream = io.BytesIO()
    overlay(small, [(one, _scaled(prompts, scale))]).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def _scaled(prompts: Prompts, scale: float) -> Prompts:
    points = tuple((x * scale, y * scale) for x, y in prompts.points)
    if prompts.box is None:
        return Prompts(points, prompts.labels)
    x0, y0, x1, y1 = (side * scale for side in prompts.box)
    return Prompts(points, prompts.labels, (x0, y0, x1, y1))
