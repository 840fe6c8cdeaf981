"""Prompts -> the decoder's static slots. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporter.bundle.preprocess import Floats, Frame
from exporter.bundle.rules import LABELS, PromptRule
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


def check_places(prompts: Prompts, frame: Frame) -> None:
    """Check points, labels and box. PromptError if one is impossible on this image."""
    if len(prompts.points) != len(prompts.labels):
        raise PromptError(f"{len(prompts.points)} points have {len(prompts.labels)} labels")
    wrong = [label for label in prompts.labels if label not in (0, 1)]
    if wrong:
        raise PromptError(f"a point's label is 1 (foreground) or 0 (background), not {wrong[0]}")
    for x, y in prompts.points:
        _inside(x, y, frame, "point")
    if prompts.box is not None:
        x0, y0, x1, y1 = prompts.box
        _inside(x0, y0, frame, "box corner")
        _inside(x1, y1, frame, "box corner")
        if x1 <= x0 or y1 <= y0:
            raise PromptError(f"the box {x0:g},{y0:g},{x1:g},{y1:g} is empty: X0,Y0 is top left")


def check_not_empty(prompts: Prompts) -> None:
    """Check that there is a prompt. PromptError if the set is empty."""
    if not prompts.points and prompts.box is None:
        raise PromptError("no prompt: give a point or a box")


def check(prompts: Prompts, frame: Frame, rule: PromptRule) -> None:
    """Check a prompt set. PromptError if the slots cannot take it on this image."""
    check_places(prompts, frame)
    check_not_empty(prompts)
    needed = prompts.slots(rule)
    if needed > rule.slots:
        padded = rule.pad_without_box and not prompts.box
        note = " (SAM adds one slot if there is no box)" if padded else ""
        note = " (SAM 2 adds one slot)" if rule.pad_with_box else note
        possible = needed <= (rule.most_slots or needed)
        cure = f"export again with --max-points {needed}" if possible else "give fewer prompts"
        raise PromptError(
            f"these prompts take {needed} slots{note} and the bundle has {rule.slots}: {cure}"
        )


def pack(prompts: Prompts, frame: Frame, rule: PromptRule) -> tuple[Floats, Floats]:
    """Fill the slots of one prompt set.

    Returns:
        `point_coords` (1, N, 2) in pixels of the S x S input and `point_labels` (1, N).

    Raises:
        PromptError: see `check`.
    """
    check(prompts, frame, rule)
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


def _inside(x: float, y: float, frame: Frame, what: str) -> None:
    width, height = frame.original
    if not (0 <= x <= width and 0 <= y <= height):
        raise PromptError(f"the {what} {x:g},{y:g} is outside the image ({width} x {height})")
