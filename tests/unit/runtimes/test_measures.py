"""Figures under their floors: which mean a broken graph, and which a degraded bundle may have."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from exporter.bundle.manifest import Figure
from runtimes.measures import FLOORS, FULL_SCORE, degraded, means_broken, meets_floor, new_misses
from runtimes.worst import Worst

BLUR = Figure("end_to_end", "masks", "mean_mask_iou", 0.9, "", "higher", 0.985)
LOST = Figure("mask_decoder", "low_res_masks", "prompt_sensitivity", 0.0, "", "higher", 0.9)
OTHER_IMAGE = Figure("end_to_end", "image", "worst_error", 0.1, "", "lower", 1e-3)
FINE = Figure("end_to_end", "masks", "p1_mask_iou", 0.9, "", "higher", None)


def test_few_bits_blur_masks_and_break_nothing_else():
    assert not means_broken(BLUR)
    assert means_broken(LOST)
    assert not means_broken(dataclasses.replace(LOST, value=0.5))
    assert means_broken(OTHER_IMAGE)


def test_every_floor_is_one_that_few_bits_may_miss_or_one_that_means_broken():
    rows = (Figure("g", *row, 0.0, "", "higher", None) for row in FLOORS["int8"])
    assert {(row.output, row.measure) for row in rows if not means_broken(row)} == {
        ("image_embeddings", "psnr_db"),
        ("low_res_masks", "mask_iou"),
        ("*", "dead_channels"),
        ("*", "saturated_channels"),
        ("*", "mean_mask_iou"),
        ("masks", "mask_iou"),
        ("scores", "worst_error"),
        # Of a video bundle, whose memory graphs are in half precision.
        ("memory", "psnr_db"),
        ("query", "psnr_db"),
        ("conditioned_embeddings", "psnr_db"),
        ("object_score_logits", "psnr_db"),
        ("low_res_masks", "last_mask_iou"),
        # Of a decoder with one mask, whose one score may lie near 0.
        ("iou_predictions of one mask", "psnr_db"),
    }


@pytest.fixture
def manifest(tiny):
    """Make a manifest with these figures."""

    def make(*figures, is_degraded):
        return dataclasses.replace(tiny.manifest, parity=figures, degraded=is_degraded)

    return make


def test_a_bundle_that_is_not_degraded_may_miss_nothing(manifest):
    assert new_misses(manifest(BLUR, is_degraded=False), (BLUR, FINE)) == [BLUR]


def test_a_degraded_bundle_may_miss_what_it_missed_at_its_export(manifest):
    made = manifest(BLUR, FINE, is_degraded=True)
    assert new_misses(made, (dataclasses.replace(BLUR, value=0.89), FINE)) == []
    assert new_misses(made, (BLUR, LOST)) == [LOST]


def test_the_words_name_the_figures(manifest):
    words = degraded(manifest(BLUR, FINE, is_degraded=True))
    assert words.startswith("degraded: end_to_end masks mean_mask_iou 0.9 is under the floor 0.985")
    assert "p1_mask_iou" not in words
    assert degraded(manifest(is_degraded=True)) == "degraded: it has no figures"


def test_a_score_near_zero_is_judged_as_a_share_of_one():
    expected, actual = np.float32([-0.0054]), np.float32([-0.0049])
    relative, absolute = Worst(), Worst()
    relative.compare("scores", expected, actual)
    absolute.compare("scores", expected, actual, FULL_SCORE)
    limit = FLOORS["fp16"]["scores", "worst_error"].value
    (over,), (under,) = relative.figures(lambda *_: limit), absolute.figures(lambda *_: limit)
    assert over.value == pytest.approx(0.0926, abs=1e-3)
    assert under.value == pytest.approx(0.0005, abs=1e-5)
    assert not meets_floor(over)
    assert meets_floor(under)
