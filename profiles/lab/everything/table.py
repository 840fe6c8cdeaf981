"""The table of `python -m profiles.lab.everything`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

THRESHOLDS = tuple(0.5 + 0.05 * step for step in range(10))
"""Of COCO's average recall."""
_TITLE = (
    "# Everything on the demo: what each way finds\n\n"
    "{scenes} held-out scenes of 240 x 320 with {objects} objects, the embedded demo in fp32 "
    "(`sam-export --target onnx --precision fp32 --everything`), one thread: `make "
    "bench-everything`. Recall counts objects that have a mask with at least that IoU; average "
    "recall is its mean from 0.5 to 0.95, mIoU the mean best IoU of an object. Prompts, masks and "
    "seconds of processor time (a host's, beside other work, which say nothing of a phone) are a "
    "scene's; each way has a row for each of several numbers of prompts.\n\n"
    "The demo's logits are a fifth of SAM's: stability is measured at 0.2 instead of 1, a pixel "
    "is covered at 1.7 instead of 8.5. There is no detector for its scenes: object-aware gets the "
    "true boxes, which no detector gives, and has no thresholds.\n"
)
_PUBLISHED = "\n## Published thresholds: predicted IoU 0.88, stability 0.95\n\n"
_LOOSER = (
    "\n## Looser ones: predicted IoU 0.7, stability 0.85\n\n"
    "The demo rates its own masks low, so the published thresholds drop most that it finds. With "
    "looser ones a grid keeps many masks of no object; masks less objects ({objects:.1f} a scene) "
    "says how many.\n\n"
)
_COLUMNS = (
    "| way | prompts | masks | average recall | at 0.5 | at 0.75 | mIoU | seconds |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


@dataclass(frozen=True)
class Row:
    """One way on one scene.

    Attributes:
        prompts: asked of the decoder.
        masks: kept.
        seconds: of processor time.
        best: IoU of each true object with the mask that fits it best.
    """

    way: str
    seed: int
    prompts: int
    masks: int
    seconds: float
    best: list[float]


def recall(best: Sequence[float], least: float) -> float:
    """Share of objects that have a mask with at least that IoU."""
    return sum(iou >= least for iou in best) / len(best)


def table(rows: Sequence[Row], published: Sequence[str], looser: Sequence[str] = ()) -> str:
    """Make the Markdown, from rows of every way in `published`, and of those in `looser`."""
    first = [row for row in rows if row.way == published[0]]
    objects = sum(len(row.best) for row in first)
    text = _TITLE.format(scenes=len(first), objects=objects) + _PUBLISHED + _COLUMNS
    text += "".join(line(rows, way) for way in published) + _drawing("published")
    if looser:
        text += _LOOSER.format(objects=objects / len(first)) + _COLUMNS
        text += "".join(line(rows, way) for way in looser) + _drawing("looser")
    return text


def _drawing(which: str) -> str:
    return f"\n![share of the objects found against calls](everything-{which}.svg)\n"


def line(rows: Sequence[Row], way: str) -> str:
    """Make the row of one way: means of its scenes."""
    mine = [row for row in rows if row.way == way]
    best = [iou for row in mine for iou in row.best]
    prompts, masks, seconds = (
        statistics.mean(getattr(row, name) for row in mine)
        for name in ("prompts", "masks", "seconds")
    )
    average = statistics.mean(recall(best, least) for least in THRESHOLDS)
    asked = f"{prompts:.0f}" if prompts >= 100 else f"{prompts:.1f}"
    return (
        f"| {way} | {asked} | {masks:.1f} | {average:.3f} | {recall(best, 0.5):.3f} | "
        f"{recall(best, 0.75):.3f} | {statistics.mean(best):.3f} | {seconds:.2f} |\n"
    )
