"""Queries -> segments, against the published fusion written out plainly."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.panoptic import Segments, find_segments
from exporter.bundle.preprocess import fit, upscale
from exporter.bundle.rules import MaskRule, PanopticRule, Preprocess

RULE = PanopticRule(("cat", "dog", "sky", "sea"), things=2)
MASK = MaskRule(threshold=0.0, single=0, multi=(0,), upscale="bilinear", low_res_size=16)
SQUARE = Preprocess(
    "within", 64, "opencv_bilinear", (0.0,) * 3, (0.0,) * 3, (1.0,) * 3, sides=(48, 64),
    limits=(64, 48),
)  # fmt: skip
FRAME = fit(90, 61, SQUARE)


def plain(masks: np.ndarray, scores: np.ndarray, rule: PanopticRule) -> np.ndarray:
    """mmdet's fusion: every step on whole arrays, as labels of class and number."""
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    classes, sure = shares.argmax(axis=1), shares.max(axis=1)
    keep = (classes != scores.shape[1] - 1) & (sure > rule.least)
    classes, sure = classes[keep], sure[keep]
    inside = 1 / (1 + np.exp(-upscale(masks[keep], FRAME).astype(np.float64)))
    labels = np.full(inside.shape[1:], -1, np.int64)
    if not len(inside):
        return labels
    owner, number = (sure[:, None, None] * inside).argmax(axis=0), 1
    for at, label in enumerate(classes):
        own, whole = owner == at, inside[at] >= 0.5
        if not own.any() or not whole.any() or own.sum() / whole.sum() < rule.overlap:
            continue
        labels[own & whole] = label if label >= rule.things else label + 1000 * number
        number += label < rule.things
    return labels


def queries(seed: int, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Blobs that overlap, and classes that are sure, unsure, or none."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:12, :16]
    masks = np.stack(
        [
            rng.uniform(2, 5) - np.hypot(rows - rng.uniform(0, 12), columns - rng.uniform(0, 16))
            for _ in range(count)
        ]
    )
    scores = rng.standard_normal((count, 5)) * 0.5
    scores[np.arange(count), rng.integers(0, 5, count)] += rng.uniform(2, 8, count)
    return masks.astype(np.float32), scores.astype(np.float32)


def same(found: Segments, labels: np.ndarray) -> None:
    """Each segment of ours is one of theirs, with its class."""
    assert found.labels.shape == labels.shape == (61, 90)
    assert ((found.labels == 0) == (labels == -1)).all()
    for segment in found.segments:
        theirs = np.unique(labels[found.labels == segment.number])
        assert len(theirs) == (segment.area > 0)
        assert all(label % 1000 == segment.label for label in theirs)
        assert all((labels == label).sum() == segment.area for label in theirs)
        assert segment.name == RULE.classes[segment.label]


@pytest.mark.parametrize("seed", range(12))
def test_segments_are_those_of_the_published_fusion(seed):
    masks, scores = queries(seed)
    same(find_segments(masks, scores, RULE, MASK, FRAME), plain(masks, scores, RULE))


def test_the_pictures_have_every_kind():
    found = [find_segments(*queries(seed), RULE, MASK, FRAME).segments for seed in range(12)]
    every = [segment for segments in found for segment in segments]
    assert {segment.thing for segment in every} == {True, False}
    things = [[s.label for s in segments if s.thing] for segments in found]
    assert any(len(set(labels)) < len(labels) for labels in things), "two of one class"
    assert any(len(segments) < 12 for segments in found)


def test_nothing_that_is_sure_is_nothing():
    masks, scores = queries(0)
    found = find_segments(masks, scores * 0, RULE, MASK, FRAME)
    assert (found.segments, found.sure) == ((), 0)
    assert not found.labels.any()


def test_what_is_sure_and_dropped_is_counted():
    masks, _ = queries(0)
    scores = np.zeros((12, 5), np.float32)
    scores[:2, 1] = scores[2:, 4] = 9
    found = find_segments(masks * 0 - 1, scores, RULE, MASK, FRAME)
    assert (found.segments, found.sure) == ((), 2)
