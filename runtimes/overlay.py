"""Draw one picture of an image, its prompts and its masks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Bools, Bytes
from exporter.bundle.prompts import Prompts

_TINT = 0.45
# The first is rare in photographs: no sky, water, skin or leaf.
_COLOURS = ((255, 51, 153), (0, 153, 255), (255, 128, 0), (0, 200, 160))
_FOREGROUND, _BACKGROUND, _WHITE = (38, 194, 79), (232, 57, 57), (255, 255, 255)
_BOX = (255, 214, 10)
# Drawn this much larger and then shrunk, since Pillow draws circles with hard edges.
_FINE = 4
# The longest side of one of several panels; a single one keeps the image's size.
_PANEL = 1024


@dataclass(frozen=True)
class Look:
    """Sizes in pixels scaled to an image, so that marks look alike on a thumbnail and a photo."""

    line: int
    radius: int

    @classmethod
    def of(cls, size: tuple[int, int]) -> Look:
        """Make sizes for an image of that width and height."""
        side = max(size)
        return cls(line=max(1, round(side / 400)), radius=max(3, round(side / 90)))


def overlay(rgb: Bytes, objects: Sequence[tuple[Masks, Prompts]]) -> Image.Image:
    """Draw masks over their image; several of one object side by side with their quality.

    Of several objects the best mask of each is drawn, in a colour of its own. Without a prompt the
    masks are the objects of one picture: all are drawn on it, small ones on top.

    Args:
        rgb: (H, W, 3) uint8.
        objects: masks of that image, with the prompts they were made from, in its pixels.
    """
    base = Image.fromarray(rgb)
    if len(objects) > 1:
        return _objects(base, objects)
    masks, prompts = objects[0]
    if not prompts.points and prompts.box is None:
        return _everything(base, masks)
    if len(masks.masks) == 1:
        return _panel(base, masks.masks[0], prompts, _COLOURS[0])
    panels = []
    for i, mask in enumerate(masks.masks):
        panel = _panel(base, mask, prompts, _COLOURS[i % len(_COLOURS)])
        panel.thumbnail((_PANEL, _PANEL), Image.Resampling.LANCZOS)
        best = ", best" if i == masks.best else ""
        panels.append(add_caption(panel, f"mask {i}: {masks.word} {masks.scores[i]:.3f}{best}"))
    return side_by_side(panels)


def _objects(base: Image.Image, objects: Sequence[tuple[Masks, Prompts]]) -> Image.Image:
    """Draw the masks first, so that none covers a prompt."""
    picture, look = base, Look.of(base.size)
    for i, (masks, _) in enumerate(objects):
        if len(masks.masks):
            picture = tint(picture, masks.masks[masks.best], colour_of(i), look.line)
    for _, prompts in objects:
        draw_prompts(picture, prompts, look)
    return picture


def colour_of(i: int) -> tuple[int, int, int]:
    """Give each object a colour of its own: hues a golden section apart are easy to tell."""
    if i < len(_COLOURS):
        return _COLOURS[i]
    red, green, blue = colorsys.hsv_to_rgb(i * 0.618 % 1.0, 0.8, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _everything(base: Image.Image, masks: Masks) -> Image.Image:
    """Draw each mask in its own colour; hues a golden section apart are easy to distinguish."""
    picture, line = base, Look.of(base.size).line
    largest_first = np.argsort([-int(mask.sum()) for mask in masks.masks], kind="stable")
    for i, index in enumerate(largest_first):
        red, green, blue = colorsys.hsv_to_rgb(i * 0.618 % 1.0, 0.8, 1.0)
        colour = (round(255 * red), round(255 * green), round(255 * blue))
        picture = tint(picture, masks.masks[index], colour, line)
    return picture


def tint(base: Image.Image, mask: Bools, colour: tuple[int, int, int], line: int) -> Image.Image:
    """Tint the mask's area and draw its contour, dark outside, bright inside."""
    area = _picture_of(mask)
    inner = _picture_of(mask & _grown(~mask, line))
    outer = _picture_of(_grown(mask, line) & ~mask)
    result = base.copy()
    result.paste(colour, mask=area.point([round(_TINT * v) for v in range(256)]))
    result.paste(tuple(c // 4 for c in colour), mask=outer)
    result.paste(tuple((c + 255) // 2 for c in colour), mask=inner)
    return result


def _grown(mask: Bools, width: int) -> Bools:
    """Grow a mask by `width` pixels to each side, corners too."""
    for axis in (0, 1):
        reach = 0
        while reach < width:  # a mask that has grown by `reach` grows by up to so much at once
            step = min(max(1, reach), width - reach)
            wider = mask.copy()
            near, far = [slice(None)] * 2, [slice(None)] * 2
            near[axis], far[axis] = slice(step, None), slice(None, -step)
            wider[tuple(near)] |= mask[tuple(far)]
            wider[tuple(far)] |= mask[tuple(near)]
            mask, reach = wider, reach + step
    return mask


def _picture_of(mask: Bools) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * np.uint8(255))


def _panel(
    base: Image.Image, mask: Bools, prompts: Prompts, colour: tuple[int, int, int]
) -> Image.Image:
    look = Look.of(base.size)
    picture = tint(base, mask, colour, look.line)
    draw_prompts(picture, prompts, look)
    return picture


def draw_prompts(picture: Image.Image, prompts: Prompts, look: Look) -> None:
    """Draw a box and points onto a picture, in its pixels."""
    if prompts.box is not None:
        _draw_box(picture, prompts.box, look)
    for (x, y), label in zip(prompts.points, prompts.labels, strict=True):
        _draw_point(picture, x, y, _FOREGROUND if label else _BACKGROUND, look.radius)


def _draw_box(picture: Image.Image, box: tuple[float, float, float, float], look: Look) -> None:
    draw = ImageDraw.Draw(picture)
    x0, y0, x1, y1 = box
    draw.rectangle((x0, y0, x1, y1), outline=(0, 0, 0), width=look.line + 2)
    draw.rectangle(
        (x0 + 1, y0 + 1, max(x0 + 1, x1 - 1), max(y0 + 1, y1 - 1)), outline=_BOX, width=look.line
    )


def _draw_point(
    picture: Image.Image, x: float, y: float, colour: tuple[int, int, int], radius: int
) -> None:
    """Draw a smooth disc with a white rim: circles are drawn large and shrunk."""
    side = 2 * radius + 3
    left, top = round(x) - radius - 1, round(y) - radius - 1
    for part, fill in ((1.0, _WHITE), (0.72, colour)):
        disc = Image.new("L", (side * _FINE, side * _FINE))
        middle, reach = side * _FINE / 2, radius * part * _FINE
        corners = (middle - reach, middle - reach, middle + reach, middle + reach)
        ImageDraw.Draw(disc).ellipse(corners, fill=255)
        small = disc.resize((side, side), Image.Resampling.BOX)
        picture.paste(fill, (left, top, left + side, top + side), small)


def add_caption(panel: Image.Image, text: str) -> Image.Image:
    """Put a strip with the text above the panel, in the largest size up to 22 that fits."""
    size = 22
    while size > 8 and ImageFont.load_default(size).getlength(text) > panel.width - 8:
        size -= 1
    font = ImageFont.load_default(size)
    width = max(panel.width, int(font.getlength(text)) + 8)
    strip = size + 12
    result = Image.new("RGB", (width, panel.height + strip), (24, 24, 24))
    result.paste(panel, ((width - panel.width) // 2, strip))
    ImageDraw.Draw(result).text((width / 2, strip / 2), text, _WHITE, font, anchor="mm")
    return result


def side_by_side(panels: list[Image.Image], gap: int = 4) -> Image.Image:
    """Put panels into a row."""
    width = sum(panel.width for panel in panels) + gap * (len(panels) - 1)
    row = Image.new("RGB", (width, max(panel.height for panel in panels)), (24, 24, 24))
    left = 0
    for panel in panels:
        row.paste(panel, (left, 0))
        left += panel.width + gap
    return row
