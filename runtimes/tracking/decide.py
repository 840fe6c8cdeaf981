"""From a decoder's outputs to a frame's mask, pointer and score. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporter.bundle.masks import choose_tokens
from exporter.bundle.preprocess import Floats
from exporter.bundle.rules import MaskRule
from exporter.bundle.video import VideoRule


@dataclass(frozen=True)
class Decoded:
    """What the decoder gave for one object of a frame.

    Attributes:
        logits: (K, h, w) of every mask token.
        iou: (K,) its own estimate of each.
        pointers: (K, W), one of each token.
        score: of whether the object is there; a logit.
    """

    logits: Floats
    iou: Floats
    pointers: Floats
    score: float


@dataclass(frozen=True)
class Found:
    """One object on one frame.

    Attributes:
        logits: (h, w) of its mask; `absent_logit` everywhere if it is not there.
        pointer: (W,) what later frames know it by.
        score: above `min_object_score` if it is there; a logit.
        iou: the decoder's estimate of the mask's quality.
        present: whether it is there.
        prompted: whether the user said where it is on this frame, by a prompt or a correction.
    """

    logits: Floats
    pointer: Floats
    score: float
    iou: float
    present: bool
    prompted: bool


@dataclass(frozen=True)
class Rules:
    """The manifest's rules that a frame's mask follows, and the pointer of an absent object."""

    mask: MaskRule
    video: VideoRule
    no_pointer: Floats


def decide(decoded: Decoded, points: int, rules: Rules, *, prompted: bool) -> Found:
    """Choose a frame's mask and pointer.

    Args:
        decoded: for the object on this frame.
        points: that prompted it, a box counting as two; 0 if it is tracked.
        rules: the bundle's.
        prompted: see `Found`.
    """
    several = points <= rules.video.several_up_to
    single = (rules.mask.single,) if rules.mask.single >= 0 else None
    tokens = choose_tokens(rules.mask, decoded.logits, decoded.iou, multimask=several)
    mask = max(tokens, key=lambda token: float(decoded.iou[token]))
    # Even if the mask of several clicks is another token's, the pointer is not.
    pointer = mask if several or single is None else single[0]
    present = decoded.score > rules.video.min_object_score
    logits = decoded.logits[mask]
    return Found(
        logits=logits if present else np.full_like(logits, rules.video.absent_logit),
        pointer=decoded.pointers[pointer] if present else rules.no_pointer,
        score=decoded.score,
        iou=float(decoded.iou[mask]),
        present=present,
        prompted=prompted,
    )
