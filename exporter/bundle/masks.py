"""The masks of one prompt set, chosen and scaled by the manifest's rules. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporter.bundle.polygons import Ring, polygon
from exporter.bundle.preprocess import (
    Bools,
    Floats,
    Frame,
    mask_scores,
    upscaled_masks,
)
from exporter.bundle.rules import MaskRule


@dataclass(frozen=True)
class Masks:
    """The masks of one prompt set; K is 1, or with `multimask` the length of the rule's `multi`.

    Attributes:
        masks: (K, H, W) at the size of the original image.
        iou_predictions: (K,) the network's own estimate of each mask's quality.
        low_res_masks: (K, h, w) logits; one of them may be a later `mask_input`.
        stability: (K,) if the bundle ranks masks by it; see `exporter.bundle.rules.MaskRule`.
    """

    masks: Bools
    iou_predictions: Floats
    low_res_masks: Floats
    stability: Floats | None = None

    @property
    def scores(self) -> Floats:
        """(K,) scores that rank the masks."""
        return self.iou_predictions if self.stability is None else self.stability

    @property
    def word(self) -> str:
        """A short word for the scores."""
        return "iou" if self.stability is None else "stability"

    @property
    def best(self) -> int:
        """Index of the mask with the highest score."""
        return int(np.argmax(self.scores))

    def polygon(self, index: int, tolerance: float = 1.0) -> tuple[Ring, ...]:
        """Trace the outline of one mask; see `exporter.bundle.polygons.polygon`."""
        return polygon(self.masks[index], tolerance)


def masks_of(
    logits: Floats, iou: Floats, frame: Frame, rule: MaskRule, *, multimask: bool
) -> Masks:
    """Choose and scale the caller's masks from (M, h, w) `low_res_masks` and (M,) scores."""
    tokens = list(choose_tokens(rule, logits, iou, multimask=multimask))
    scores = mask_scores(logits[tokens], iou[tokens], rule)
    return Masks(
        upscaled_masks(logits[tokens], frame, rule),
        iou[tokens],
        clamp_logits(logits[tokens], rule),
        None if rule.score == "iou_predictions" else scores,
    )


def choose_tokens(
    rule: MaskRule, logits: Floats, iou: Floats, *, multimask: bool
) -> tuple[int, ...]:
    """Choose the mask tokens for a caller, as the variant's own code does.

    Args:
        rule: the manifest's.
        logits: (M, h, w) `low_res_masks` of one prompt set.
        iou: (M,) its `iou_predictions`.
        multimask: whether the caller asked for several.
    """
    if multimask:
        return rule.multi
    if rule.single >= 0 and stable(rule, logits[rule.single]):
        return (rule.single,)
    scores = mask_scores(logits, iou, rule)
    return (max(rule.multi, key=lambda token: float(scores[token])),)


def stable(rule: MaskRule, logits: Floats) -> bool:
    """Tell whether a mask (h, w) is as stable as the rule demands; true if it demands nothing."""
    if rule.stability is None:
        return True
    delta = rule.stability.delta
    strict, loose = (int(np.count_nonzero(logits > edge)) for edge in (delta, -delta))
    return loose == 0 or strict / loose >= rule.stability.least


def clamp_logits(logits: Floats, rule: MaskRule) -> Floats:
    """Clamp logits as the rule says, before a caller gets them."""
    if rule.logit_limit is None:
        return logits
    return np.clip(logits, -rule.logit_limit, rule.logit_limit)
