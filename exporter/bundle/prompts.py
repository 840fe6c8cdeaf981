"""Prompts -> the decoder's static slots. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporter.bundle.preprocess import Floats, Frame
from exporter.bundle.rules import LABELS, SLOTS, PromptRule
from exporter.errors import PromptError


@dataclass(frozen=True)
class Prompts:
    """One prompt set in pixels of the original image.

    Attributes:
        points: (x, y) each.
        labels: 1 (foreground) or 0 (background), one for each point.
        box: x0, y0, x1, y1, or None.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None

    def slots(self, rule: PromptRule) -> int:
        """Count the slots that this set takes."""
        padded = rule.pad_with_box if self.box else rule.pad_without_box
        return len(self.points) + (2 if self.box else 0) + padded


def place(prompts: Prompts, frame: Frame) -> Prompts:
    """Check points, labels and box, and move what is barely outside the image onto its edge.

    Published predictors take any number. A detector's box often ends a fraction of a pixel outside,
    or farther where an object is cut by the edge: the part inside is meant. A point may be outside
    by a pixel.

    Raises:
        PromptError: one is impossible on this image, or wholly outside.
    """
    if len(prompts.points) != len(prompts.labels):
        raise PromptError(
            f"points: {len(prompts.points)}, labels: {len(prompts.labels)}; give each point a label"
        )
    wrong = [label for label in prompts.labels if label not in (0, 1)]
    if wrong:
        raise PromptError(f"a point's label is 1 (foreground) or 0 (background), not {wrong[0]}")
    points = tuple(_placed_point(x, y, frame) for x, y in prompts.points)
    box = None if prompts.box is None else _placed_box(prompts.box, frame)
    return Prompts(points, prompts.labels, box)


def check_not_empty(prompts: Prompts) -> None:
    """Check that there is a prompt. PromptError if the set is empty."""
    if not prompts.points and prompts.box is None:
        raise PromptError("no prompt: give a point or a box")


def is_taken(prompts: Prompts, rule: PromptRule) -> bool:
    """Tell whether a bundle takes prompts of this kind, however many slots they need."""
    return not rule.point_or_box or (
        0 not in prompts.labels and len(prompts.points) + (prompts.box is not None) == 1
    )


def check(prompts: Prompts, frame: Frame, rule: PromptRule) -> Prompts:
    """Check a prompt set and `place` it. PromptError if the slots cannot take it on this image."""
    prompts = place(prompts, frame)
    check_not_empty(prompts)
    if not is_taken(prompts, rule):
        raise PromptError(
            "this bundle takes one foreground point or one box for each object: no background "
            "point, no second point, and no box with a point"
        )
    needed = prompts.slots(rule)
    if needed > rule.slots:
        padded = rule.pad_without_box and not prompts.box
        note = " (SAM adds one slot if there is no box)" if padded else ""
        note = " (SAM 2 adds one slot)" if rule.pad_with_box else note
        possible = needed <= (rule.most_slots or SLOTS[-1])
        cure = f"export again with --max-points {needed}" if possible else "give fewer prompts"
        raise PromptError(
            f"these prompts take {needed} slots{note} and the bundle has {rule.slots}: {cure}"
        )
    return prompts


def pack(prompts: Prompts, frame: Frame, rule: PromptRule) -> tuple[Floats, Floats]:
    """Fill the slots of one prompt set.

    Returns:
        `point_coords` (1, N, 2) in pixels of the input and `point_labels` (1, N).

    Raises:
        PromptError: see `check`.
    """
    prompts = check(prompts, frame, rule)
    coords = list(prompts.points)
    labels = list(prompts.labels)
    if prompts.box is not None:
        x0, y0, x1, y1 = prompts.box
        coords += [(x0, y0), (x1, y1)]
        labels += [LABELS["box_top_left"], LABELS["box_bottom_right"]]
    mapped = frame.to_input(np.asarray(coords, np.float64).reshape(-1, 2))
    if rule.pad_without_box if prompts.box is None else rule.pad_with_box:
        mapped = np.concatenate([mapped, np.zeros((1, 2), np.float32)])
        labels.append(LABELS["not_a_point"])
    empty = rule.slots - len(labels)
    point_coords = np.concatenate([mapped, np.zeros((empty, 2), np.float32)])
    point_labels = np.asarray(labels + [LABELS["empty"]] * empty, np.float32)
    return point_coords[None], point_labels[None]


def _placed_point(x: float, y: float, frame: Frame) -> tuple[float, float]:
    width, height = frame.original
    if not (-1 <= x <= width + 1 and -1 <= y <= height + 1):
        raise PromptError(f"the point {x:g},{y:g} is outside the image ({width} x {height})")
    return min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))


def _placed_box(
    box: tuple[float, float, float, float], frame: Frame
) -> tuple[float, float, float, float]:
    width, height = frame.original
    x0, y0, x1, y1 = box
    shown = f"the box {x0:g},{y0:g},{x1:g},{y1:g}"
    if x1 <= x0 or y1 <= y0:
        raise PromptError(f"{shown} is empty: X0,Y0 is top left and X1,Y1 bottom right")
    # Written so that a NaN is outside.
    if not (x0 < width and y0 < height and x1 > 0 and y1 > 0):
        raise PromptError(f"{shown} is outside the image ({width} x {height})")
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
