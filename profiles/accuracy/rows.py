"""A bundle's figures. Higher IoU is better; 1 is the same mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from exporter.bundle.folder import Bundle
from profiles.accuracy.answers import Answer, Answers
from profiles.numbers.statistics import Spread
from runtimes.gate import iou


@dataclass(frozen=True)
class Agreement:
    """How closely masks follow the reference's.

    Attributes:
        mean_iou: of a mask with the reference's for the same prompts, 0..1.
        p1_iou: its first percentile.
        worst_iou: the worst mask's.
        other_mask_share: of the cases in which another of the bundle's masks is chosen; None if
            there is no choice.
        masks: compared.
    """

    mean_iou: float
    p1_iou: float
    worst_iou: float
    other_mask_share: float | None
    masks: int


@dataclass(frozen=True)
class Row:
    """One bundle.

    Attributes:
        bundle: its folder's name, or the path if another has that name too.
        degraded: whether it was written though it misses its floors.
        graph_bytes: graph -> bytes of its file.
        reference: the bundle that its masks are compared with; empty if it is the reference.
        agreement: with that; None if it is the reference.
        truth_iou: mean IoU with the objects that are known; None if none is.
        truth_loss: points (hundredths) of `truth_iou` under the reference's; None if there is none.
        not_finite: cases with a NaN or infinite output.
        ms: graph -> milliseconds of a call on this host; empty if it was not timed.
        untimed: the reason for that.
    """

    bundle: str
    variant: str
    target: str
    precision: str
    degraded: bool
    graph_bytes: Mapping[str, int]
    reference: str = ""
    agreement: Agreement | None = None
    truth_iou: float | None = None
    truth_loss: float | None = None
    not_finite: int = 0
    ms: Mapping[str, Spread] = field(default_factory=dict)
    untimed: str = ""

    @property
    def megabytes(self) -> float:
        """Of the graphs' files, 10**6 bytes."""
        return sum(self.graph_bytes.values()) / 1e6

    @property
    def whole_ms(self) -> float | None:
        """Milliseconds of one call of every graph, the sum of medians; None if not timed."""
        return sum(spread.p50 for spread in self.ms.values()) if self.ms else None


def describe_bundle(bundle: Bundle, name: str) -> Row:
    """Take what the manifest says."""
    manifest = bundle.manifest
    return Row(
        bundle=name,
        variant=manifest.variant,
        target=manifest.target,
        precision=manifest.precision,
        degraded=manifest.degraded,
        graph_bytes={graph.spec.name: graph.bytes for graph in manifest.graphs},
    )


def agree(expected: Answers, actual: Answers, *, chosen: bool) -> Agreement:
    """Compare a bundle's masks with the reference's.

    Args:
        expected: the reference's answers.
        actual: of the same cases.
        chosen: whether masks are chosen from several.
    """
    ious = list(compare_masks(expected, actual).values())
    pairs = _pairs(expected, actual)
    others = float(np.mean([one.best != two.best for _, one, two in pairs])) if chosen else None
    p1 = float(np.percentile(ious, 1))
    return Agreement(float(np.mean(ious)), p1, min(ious), others, len(ious))


def compare_masks(expected: Answers, actual: Answers) -> dict[tuple[int, int], float]:
    """Compare each mask: (picture, case) -> 0..1."""
    return {place: iou(one.mask, two.mask) for place, one, two in _pairs(expected, actual)}


def _pairs(expected: Answers, actual: Answers) -> Iterator[tuple[tuple[int, int], Answer, Answer]]:
    for number, (one, two) in enumerate(zip(expected, actual, strict=True)):
        for place in one.keys() & two.keys():
            yield (number, place), one[place], two[place]


def truth_iou(answers: Answers) -> float | None:
    """Average the IoU with the objects that are known; None if none is."""
    known = [each.truth_iou for shot in answers for each in shot.values()]
    values = [value for value in known if value is not None]
    return float(np.mean(values)) if values else None


def count_not_finite(answers: Answers) -> int:
    """Count the cases with a NaN or infinite output."""
    return sum(not each.finite for shot in answers for each in shot.values())
