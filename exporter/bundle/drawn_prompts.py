"""Prompts drawn as pictures, for a network that takes them with the image. numpy only."""

from __future__ import annotations

import numpy as np

from exporter.bundle.preprocess import Floats, Frame
from exporter.bundle.prompts import Prompts, check_not_empty, place
from exporter.bundle.rules import DrawnPrompts
from exporter.errors import PromptError


def check_drawable(prompts: Prompts, frame: Frame, rule: DrawnPrompts) -> Prompts:
    """Check a prompt set and `place` it. PromptError if the bundle cannot take it on this image."""
    prompts = place(prompts, frame)
    check_not_empty(prompts)
    if 0 in prompts.labels and not rule.background_points:
        raise PromptError("this network has no background points: give foreground points or a box")
    return prompts


def draw(prompts: Prompts, frame: Frame, rule: DrawnPrompts) -> Floats:
    """Draw `prompt_masks` (1, 2, S, S) of 0 and 1.

    Raises:
        PromptError: see `check_drawable`.
    """
    prompts = check_drawable(prompts, frame, rule)
    steps = np.arange(frame.size, dtype=np.float32)
    masks = np.zeros((1, 2, frame.size, frame.size), np.float32)
    masks[0, rule.box_channel] = 1.0
    if prompts.box is not None:
        x0, y0, x1, y1 = frame.to_input(np.array(prompts.box).reshape(2, 2)).reshape(4)
        rows, columns = (steps >= y0) & (steps <= y1), (steps >= x0) & (steps <= x1)
        masks[0, rule.box_channel] = np.outer(rows, columns)
    for x, y in frame.to_input(np.array(prompts.points, np.float64).reshape(-1, 2)):
        near = np.square(steps - x)[None, :] + np.square(steps - y)[:, None] <= rule.radius**2
        masks[0, rule.point_channel][near] = 1.0
    return masks
