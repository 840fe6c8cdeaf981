"""The host's rules of a variant, as a request has them: slots of prompts, and what ranks masks."""

from __future__ import annotations

import dataclasses

from exporter.bundle.rules import LABELS, SLOTS, MaskRule, PanopticRule, PromptRule, Score
from exporter.bundle.video import MOST_SLOTS
from exporter.errors import RequestError
from exporter.printable import quote
from exporter.variants import Slots, Variant, VolumeSlots, variants

DEFAULT_SLOTS = 8
EVERYTHING = ("image_encoder", "image_side", "token_decoder", "mask_head")
"""Graphs of a bundle for segmenting everything."""
_PROPOSES = "point_proposer"
_EVERYTHING_SLOTS = 2
_OTHER_DECODERS = frozenset({"sam_hq", "efficient_sam"})
"""Families whose masks are made of more than the transformer's outputs, or of less."""


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
    if isinstance(rule, VolumeSlots) and batch != 1:
        raise RequestError(f"{variant.name} takes one prompt set in a call: leave out --batch")
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
        point_or_box=rule.point_or_box,
    )


def as_everything(
    variant: Variant, slots: int | None, *, published: bool = True
) -> tuple[Variant, int]:
    """Give a variant the graphs for segmenting everything, and as many slots as that needs.

    The decoder is two graphs, so that masks are made for prompts alone whose predicted IoU passes,
    and the image side of its first layer is a graph of its own, once a picture. It takes no earlier
    mask: that would change the image side.

    Args:
        variant: any.
        slots: None for 2: a click, and what pads it.
        published: whether its weights and input are the published ones. A head that proposes
            points is trained on their embedding, so another bundle is without it.

    Raises:
        RequestError: its decoder has another form.
    """
    rule = variant.prompting
    if variant.panoptic is not None:
        raise RequestError(
            f"{variant.name} has no graphs for --everything: --classifier FILE adds the one that "
            "finds everything"
        )
    if isinstance(rule, VolumeSlots):
        raise RequestError(
            f"{variant.name} has no graphs for --everything: a volume is segmented by clicks, and "
            "nothing is found in it by a grid of them"
        )
    other = variant.family in _OTHER_DECODERS
    if not isinstance(rule, Slots) or not rule.takes_mask or other:
        raise RequestError(
            f"{variant.name} has no graphs for --everything: its ordinary bundle does it as well"
        )
    graphs: tuple[str, ...] = EVERYTHING
    if published and variant.published_size is None and variant.proposer is not None:
        graphs = (*graphs, _PROPOSES)
    rule = dataclasses.replace(rule, takes_mask=False, graphs=graphs)
    return dataclasses.replace(variant, prompting=rule), slots or _EVERYTHING_SLOTS


def is_everything(variant: Variant) -> bool:
    """Tell whether a variant has the graphs of `as_everything`."""
    return variant.prompting.graphs[: len(EVERYTHING)] == EVERYTHING


def with_classes(variant: Variant, classes: PanopticRule) -> Variant:
    """Give a variant its panoptic graph; itself if it has none."""
    rule = variant.prompting
    if variant.panoptic is None or not isinstance(rule, Slots):
        return variant
    rule = dataclasses.replace(rule, graphs=(*rule.graphs, variant.panoptic.graph))
    return dataclasses.replace(variant, prompting=rule, classes=classes)


def has_app_code(variant: Variant) -> bool:
    """Tell whether Swift and Kotlin run a variant's bundles: those of pictures in squares."""
    return variant.preprocess.resize not in ("within", "crop")


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


def require_no_pictures(variant: Variant, **options: object) -> None:
    """RequestError if a variant of volumes is to be calibrated, ranked or judged on pictures.

    Args:
        variant: any.
        options: what was asked for by an option of that name; None if it was not.
    """
    given = [name for name, value in options.items() if value is not None]
    if isinstance(variant.prompting, VolumeSlots) and given:
        raise RequestError(
            f"{variant.name} segments volumes, and --{given[0].replace('_', '-')} goes by "
            "pictures: leave it out; few bits are calibrated and judged on procedural volumes"
        )


def require_video(video: object, batch: int, memory_slots: object, pointer_slots: object) -> None:
    """RequestError if what a job says of videos is not of its type, or does not go together."""
    if not isinstance(video, bool):
        raise RequestError(f"Job.video is a bool, not {quote(video)}")
    for part, slots in (("memory_slots", memory_slots), ("pointer_slots", pointer_slots)):
        if slots is None:
            continue
        if isinstance(slots, bool) or not isinstance(slots, int) or not 0 < slots <= MOST_SLOTS:
            raise RequestError(f"Job.{part} is 1 to {MOST_SLOTS}, not {quote(slots)}")
        if not video:
            raise RequestError(f"--{part.replace('_', '-')} is of --video: give both")
    if video and batch != 1:
        raise RequestError("--video takes one prompt set in a call: leave out --batch")
