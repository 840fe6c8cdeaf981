"""The host's steps of `exporter.bundle.rules.DetectionRule`. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.bundle.masks import Masks
from exporter.bundle.pieces import Piece, at_points, in_box
from exporter.bundle.preprocess import Bools, Floats, Frame, resampling
from exporter.bundle.prompts import Prompts
from exporter.bundle.rules import DetectionRule

Array = npt.NDArray[np.generic]
Size = tuple[int, int]


@dataclass(frozen=True)
class Found:
    """Detections, the highest score first.

    Attributes:
        boxes: (K, 4) x0, y0, x1, y1.
        scores: (K,)
        coefficients: (K, C) of the prototypes.
    """

    boxes: Floats
    scores: Floats
    coefficients: Floats


def detect(outputs: Mapping[str, Array], rule: DetectionRule, size: Size) -> Found:
    """Do steps 1 to 4 of the rule.

    Args:
        outputs: `boxes` (1, N, 4), `scores` (1, N), `coefficients` (1, N, C).
        rule: the manifest's.
        size: width and height of the input.

    Returns:
        boxes in pixels of the input.
    """
    scores = outputs["scores"][0]
    finite = np.isfinite(outputs["boxes"][0]).all(axis=1)
    above = np.flatnonzero(finite & (scores > rule.confidence))
    order = above[np.argsort(-scores[above], kind="stable")]
    boxes: Floats = outputs["boxes"][0][order]
    kept = suppress(boxes, rule)
    order = order[kept]
    return Found(
        snap_boxes(boxes[kept], rule, size), scores[order], outputs["coefficients"][0][order]
    )


def suppress(boxes: Floats, rule: DetectionRule) -> npt.NDArray[np.int64]:
    """Suppress non-maxima of boxes (K, 4), best first; returns the indices that stay."""
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left) and len(kept) < rule.max_detections:
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[iou(boxes[best], boxes[left]) <= np.float32(rule.nms_iou)]
    return np.array(kept, np.int64)


def iou(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of (4,) and (K, 4): (K,)."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=1)
    either = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - both
    return np.asarray(both / np.where(either == 0, 1, either), np.float32)


def snap_boxes(boxes: Floats, rule: DetectionRule, size: Size) -> Floats:
    """Move edges near the input's border onto it; a box that nearly fills the input becomes it."""
    whole = np.array([0, 0, *size], np.float32)
    moved = boxes.copy()
    moved[:, :2][boxes[:, :2] < rule.border] = 0
    far = boxes[:, 2:] > whole[2:] - np.float32(rule.border)
    moved[:, 2:] = np.where(far, whole[2:], boxes[:, 2:])
    moved[iou(whole, moved) > np.float32(rule.full_box_iou)] = whole
    return moved


def to_original(boxes: Floats, size: Size, original: Size) -> Floats:
    """Map boxes (K, 4) from pixels of the input to pixels of the original image, clipped to it."""
    gain = min(size[0] / original[0], size[1] / original[1])
    pads = [round((side - old * gain) / 2 - 0.1) for side, old in zip(size, original, strict=True)]
    mapped = (boxes - np.array(pads * 2, np.float32)) / np.float32(gain)
    return np.clip(mapped, 0, np.array(original * 2, np.float32))


def pieces_of(
    found: Found, prototypes: Floats, threshold: float, original: Size
) -> tuple[Piece, ...]:
    """Do step 6: make every detection's mask within its box.

    Args:
        found: boxes in pixels of the original image.
        prototypes: (C, h, w), the letterbox included.
        threshold: of the logits.
        original: width and height of the image.
    """
    cells = (prototypes.shape[2], prototypes.shape[1])
    gain = min(cells[0] / original[0], cells[1] / original[1])
    (left, right), (top, bottom) = (
        (int(pad), int(side - pad))
        for side, pad in ((s, (s - old * gain) / 2) for s, old in zip(cells, original, strict=True))
    )
    kept = prototypes[:, top:bottom, left:right]
    tall = resampling(bottom - top, original[1])
    wide = resampling(right - left, original[0])
    pieces = []
    for box, score, row in zip(found.boxes, found.scores, found.coefficients, strict=True):
        # A pixel counts if x0 <= x < x1: from the first whole number up to before the last.
        x0, y0, x1, y1 = (int(edge) for edge in np.ceil(box))
        logits = np.tensordot(row, kept, axes=1)
        mask = tall[y0:y1] @ logits @ wide[x0:x1].T > threshold
        pieces.append(Piece(float(score), x0, y0, mask, int(np.count_nonzero(mask))))
    return tuple(pieces)


def find_pieces(
    outputs: Mapping[str, Array], rule: DetectionRule, threshold: float, frame: Frame
) -> tuple[Piece, ...]:
    """Do all steps: make every object's mask, the highest score first.

    Args:
        outputs: of the graph.
        rule: the manifest's.
        threshold: of the logits.
        frame: where the picture lies in the input.
    """
    size = (frame.size, frame.size)
    found = detect(outputs, rule, size)
    boxes = to_original(found.boxes, size, frame.original)
    found = Found(boxes, found.scores, found.coefficients)
    prototypes = np.asarray(outputs["prototypes"][0], np.float32)
    return pieces_of(found, prototypes, threshold, frame.original)


def choose_pieces(pieces: Sequence[Piece], prompts: Prompts, size: Size) -> Masks:
    """Choose among an image's masks: by points or a box, or all of them without a prompt.

    Args:
        pieces: of the image, the highest score first.
        prompts: points or a box, not both.
        size: width and height of the image.
    """
    if prompts.points:
        merged, score = at_points(pieces, prompts.points, prompts.labels, size)
        return _masks([merged], [score], size)
    if prompts.box is None:
        whole = [_whole(piece, size) for piece in pieces]
        return _masks(whole, [piece.score for piece in pieces], size)
    best = in_box(pieces, prompts.box, size)
    return _masks([_whole(best, size)], [best.score if best else 0.0], size)


def _whole(piece: Piece | None, size: Size) -> Bools:
    picture = np.zeros((size[1], size[0]), np.bool_)
    if piece is not None:
        piece.put(picture, value=True)
    return picture


def _masks(masks: Sequence[Bools], scores: Sequence[float], size: Size) -> Masks:
    stacked = np.stack(masks) if masks else np.zeros((0, size[1], size[0]), np.bool_)
    return Masks(stacked, np.array(scores, np.float32), np.zeros((0, 0, 0), np.float32))
