"""Masks and classes of a network's queries -> one segment for each pixel. numpy only.

The steps of `exporter.bundle.rules.PanopticRule`, in its order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bools, Floats, Frame, upscale
from exporter.bundle.rules import MaskRule, PanopticRule

Labels = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Segment:
    """One object, or all of a picture that is of one class which is not counted.

    Attributes:
        number: of its pixels among the labels, from 1.
        label: of its class, from 0, in the classifier's order.
        name: of its class.
        thing: whether the class can be counted.
        score: the largest share of the class among its queries.
        area: pixels.
    """

    number: int
    label: int
    name: str
    thing: bool
    score: float
    area: int


@dataclass(frozen=True)
class Segments:
    """Everything in a picture.

    Attributes:
        labels: (H, W) numbers of `segments`, 0 where there is none.
        segments: in the order of their numbers.
        sure: queries that were sure enough of a class, those too that were dropped after.
    """

    labels: Labels
    segments: tuple[Segment, ...]
    sure: int = 0


def find_segments(
    masks: Floats, scores: Floats, rule: PanopticRule, mask: MaskRule, frame: Frame
) -> Segments:
    """Find everything.

    Args:
        masks: (Q, h, w) logits.
        scores: (Q, K + 1) classes before a softmax, the last of them none.
        rule: the manifest's.
        mask: the manifest's.
        frame: where the picture lies in the input.
    """
    shares = _softmax(scores)
    classes, sure = shares.argmax(axis=1), shares.max(axis=1)
    kept = np.flatnonzero((classes < scores.shape[1] - 1) & (sure > rule.least))
    width, height = frame.original
    best = np.zeros((height, width), np.float32)
    owner = np.full((height, width), -1, np.int16)
    inside: list[npt.NDArray[np.uint8]] = []
    for place, query in enumerate(kept):
        logits = upscale(masks[query][None], frame, mask.upscale)[0]
        inside.append(np.packbits(logits >= 0, axis=1))  # where the sigmoid is half or more
        value = np.float32(sure[query]) / (1.0 + np.exp(-logits.clip(-80, 80)))
        # The first of equals stays; the first of all has every pixel.
        closer = value > best if place else np.ones(best.shape, np.bool_)
        best[closer], owner[closer] = value[closer], place
    found = ((classes[q], sure[q], owner == at, inside[at]) for at, q in enumerate(kept))
    return replace(_joined(found, rule, (height, width)), sure=len(kept))


def _joined(
    found: Iterable[tuple[np.int64, np.float32, Bools, npt.NDArray[np.uint8]]],
    rule: PanopticRule,
    shape: tuple[int, int],
) -> Segments:
    """Drop what is mostly another's, and join what is not counted by its class.

    Args:
        found: class, share, the pixels that are the query's, and the packed ones of its own mask.
        rule: the manifest's.
        shape: of the picture.
    """
    labels = np.zeros(shape, np.uint16)
    merged: dict[int, int] = {}
    rows: dict[int, tuple[int, float]] = {}
    for kind, share, own, packed in found:
        inside = np.unpackbits(packed, axis=1, count=shape[1]).astype(np.bool_)
        area, whole = int(own.sum()), int(inside.sum())
        if not area or not whole or area / whole < rule.overlap:
            continue
        label = int(kind)
        thing = label < rule.things
        number = len(rows) + 1 if thing else merged.setdefault(label, len(rows) + 1)
        labels[own & inside] = number
        _, before = rows.get(number, (label, 0.0))
        rows[number] = label, max(before, float(share))
    areas = np.bincount(labels.reshape(-1), minlength=len(rows) + 1)
    return Segments(
        labels,
        tuple(
            Segment(n, label, rule.classes[label], label < rule.things, score, int(areas[n]))
            for n, (label, score) in rows.items()
        ),
    )


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
