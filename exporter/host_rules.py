"""The host's rules of a variant, as a request has them: slots of prompts, and what ranks masks."""

from __future__ import annotations

from exporter.bundle.rules import LABELS, SLOTS, MaskRule, PromptRule, Score
from exporter.errors import RequestError
from exporter.variants import Slots, Variant, variants

DEFAULT_SLOTS = 8


def prompt_rule(variant: Variant, batch: int = 1, slots: int | None = None) -> PromptRule | None:
    """Say how prompts fill the decoder's slots; None if the network has none.

    Args:
        variant: of which the decoder is.
        batch: see `exporter.job.Job`.
        slots: see `exporter.job.Job`.

    Raises:
        RequestError: it has no slots or fewer than are asked for.
    """
    rule = variant.prompting
    if not isinstance(rule, Slots):
        if (batch, slots) != (1, None):
            raise RequestError(
                f"{variant.name} has no prompt slots: leave out --batch and --max-points"
            )
        return None
    most = rule.most or SLOTS[-1]
    if slots is not None and slots > most:
        raise RequestError(f"{variant.name} reads {most} prompts at most: --max-points {most}")
    return PromptRule(
        batch,
        slots or min(DEFAULT_SLOTS, most),
        LABELS,
        pad_without_box=rule.pad_without_box,
        pad_with_box=rule.pad_with_box,
        most_slots=rule.most,
    )


def mask_rule(variant: Variant, score: Score = "iou_predictions") -> MaskRule:
    """Say how masks are chosen. RequestError if the variant has no such score."""
    if score == variant.mask.score:
        return variant.mask
    if variant.stability is None or score != variant.stability.score:
        able = [v.name for v in variants().values() if v.stability is not None]
        raise RequestError(
            f"{variant.name} cannot rank masks by {score}: its published code does not; "
            f"--score stability is for {', '.join(able)}"
        )
    return variant.stability
