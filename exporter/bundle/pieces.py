"""Masks that keep only their box, so that an app can hold hundreds. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exporter.bundle.preprocess import Bools


@dataclass(frozen=True)
class Piece:
    """One mask of an image; outside its box it is empty.

    Attributes:
        score: the network's, 0..1.
        left: column of the box's first pixel.
        top: row of the box's first pixel.
        mask: (h, w) within the box.
        area: pixels of the mask.
    """

    score: float
    left: int
    top: int
    mask: Bools
    area: int

    def holds(self, column: int, row: int) -> bool:
        """Tell whether a pixel of the image belongs to the mask."""
        x, y = column - self.left, row - self.top
        height, width = self.mask.shape
        return 0 <= x < width and 0 <= y < height and bool(self.mask[y, x])

    def area_inside(self, x0: int, y0: int, x1: int, y1: int) -> int:
        """Count pixels of the mask in a rectangle of the image; x1 and y1 are exclusive."""
        columns = slice(max(0, x0 - self.left), max(0, x1 - self.left))
        rows = slice(max(0, y0 - self.top), max(0, y1 - self.top))
        return int(np.count_nonzero(self.mask[rows, columns]))

    def put(self, picture: Bools, *, value: bool) -> None:
        """Set the mask's pixels in a whole picture (H, W)."""
        height, width = self.mask.shape
        part = picture[self.top : self.top + height, self.left : self.left + width]
        part[self.mask] = value


def at_points(
    pieces: Sequence[Piece],
    points: Sequence[tuple[float, float]],
    labels: Sequence[int],
    size: tuple[int, int],
) -> tuple[Bools, float]:
    """Make one mask from points: larger masks first, so that the smallest around a point decides.

    Args:
        pieces: of the image.
        points: x, y in its pixels; fractions are within a pixel.
        labels: 1 adds the masks that hold the point, 0 takes them away; of several points that a
            mask holds the last one decides.
        size: width and height of the image.

    Returns:
        (H, W), and the highest score of the masks added; an empty mask and 0 if none was.
    """
    width, height = size
    merged = np.zeros((height, width), np.bool_)
    scores = [0.0]
    for piece in sorted(pieces, key=lambda p: -p.area):
        for (x, y), label in zip(points, labels, strict=True):
            if not piece.holds(min(int(x), width - 1), min(int(y), height - 1)):
                continue
            piece.put(merged, value=label == 1)
            if label == 1:
                scores.append(piece.score)
    return merged, max(scores)


def in_box(
    pieces: Sequence[Piece], box: tuple[float, float, float, float], size: tuple[int, int]
) -> Piece | None:
    """Find the mask of the highest IoU with a box; None if none meets it.

    Args:
        pieces: of the image.
        box: x0, y0, x1, y1 in its pixels; rounded to whole ones, a half to even.
        size: width and height of the image.
    """
    x0, y0 = max(round(box[0]), 0), max(round(box[1]), 0)
    x1, y1 = min(round(box[2]), size[0]), min(round(box[3]), size[1])
    best, most = None, 0.0
    for piece in pieces:
        both = piece.area_inside(x0, y0, x1, y1)
        either = (x1 - x0) * (y1 - y0) + piece.area - both
        if both / max(either, 1) > most:
            best, most = piece, both / either
    return best
