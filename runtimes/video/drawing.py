"""Masks and prompts drawn over a frame. numpy and Pillow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from exporter.bundle.preprocess import Bools, Bytes
from runtimes.outputs import bounding_box
from runtimes.overlay import Look, colour_of, draw_prompts, tint
from runtimes.video import Result


def draw(result: Result, objects: Sequence[str]) -> Image.Image:
    """Draw a frame's masks, each object in its own colour, and what was asked on it.

    Args:
        result: the frame.
        objects: all names, in the order of their colours.
    """
    picture = Image.fromarray(result.rgb)
    look = Look.of(picture.size)
    for i, name in enumerate(objects):
        if name in result.found and result.found[name].present:
            _tint_part(picture, result.found[name].mask, colour_of(i), look.line)
    for prompts in result.prompts.values():
        draw_prompts(picture, prompts, look)
    return picture


def as_bytes(picture: Image.Image) -> Bytes:
    """(H, W, 3) of a picture."""
    return np.asarray(picture)


def _tint_part(picture: Image.Image, mask: Bools, colour: tuple[int, int, int], line: int) -> None:
    """Tint in place, and look only at the part where the mask is."""
    box = bounding_box(mask)
    if box is None:
        return
    x0, y0 = max(0, box[0] - line), max(0, box[1] - line)
    x1, y1 = min(picture.width, box[2] + line), min(picture.height, box[3] + line)
    part = tint(picture.crop((x0, y0, x1, y1)), mask[y0:y1, x0:x1], colour, line)
    picture.paste(part, (x0, y0))
