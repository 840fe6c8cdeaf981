"""What goes into a tracker and comes out of it. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy.typing as npt

from exporter.bundle.preprocess import Bools, Floats, Frame, upscaled_masks
from exporter.bundle.prompts import Prompts
from exporter.bundle.rules import MaskRule
from exporter.errors import PromptError
from runtimes.prompt_arrays import as_prompts
from runtimes.tracking.drawn import as_mask


@dataclass(frozen=True)
class Tracked:
    """One object on one frame.

    Attributes:
        name: the object's.
        frame: number of the frame.
        low_res_mask: (h, w) logits; -1024 everywhere if the object is not there.
        score: logit of whether it is there.
        present: whether it is there: the score is above 0.
        iou: the network's own estimate of the mask's quality.
        prompted: whether it was prompted or corrected on this frame.
    """

    name: str
    frame: int
    low_res_mask: Floats
    score: float
    present: bool
    iou: float
    prompted: bool
    _where: Frame
    _rule: MaskRule

    @cached_property
    def mask(self) -> Bools:
        """(H, W) at the size of the video; made when it is first asked for."""
        mask: Bools = upscaled_masks(self.low_res_mask[None], self._where, self._rule)[0]
        return mask


@dataclass(frozen=True)
class ObjectPrompt:
    """Where an object is on a frame: points and a box, or a mask (H, W) that is taken as it is.

    Attributes:
        path: the file of a mask that is not read yet.
    """

    prompts: Prompts = field(default_factory=Prompts)
    mask: Bools | None = None
    path: Path | None = None


def as_prompt(
    points: npt.ArrayLike | None,
    labels: npt.ArrayLike | None,
    box: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
) -> ObjectPrompt:
    """Make a prompt of a user's arrays. PromptError if there is none, or both kinds."""
    given = as_prompts(points, labels, box)
    if mask is None:
        return ObjectPrompt(given)
    if given != Prompts():
        raise PromptError("a mask is a whole prompt: leave out points and box, or correct(...) it")
    return ObjectPrompt(mask=as_mask(mask))
