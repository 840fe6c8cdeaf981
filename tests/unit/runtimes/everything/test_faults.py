"""Answers that are no numbers: dropped, counted and said, by every way."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from exporter.bundle.masks import Masks
from exporter.errors import ExportError
from runtimes.everything import bundles, everything
from runtimes.outputs import Segmented, faults
from tests.unit.runtimes.everything.test_everything import WHITE, Discs

FREE = {"pred_iou_thresh": 0, "stability_score_thresh": 0, "box_nms_thresh": 1.0}
NAN, INF = float("nan"), float("inf")


class Broken(Discs):
    """Its second mask has no number; half of its third has none."""

    def points(self, points, multimask=True, mask_input=None):
        logits, ious = super().points(points)
        logits[:, 1], logits[:, 2, :8] = NAN, NAN
        return logits, ious

    def proposals(self):
        return np.array([[9.0, 9.0], [40.0, 20.0], [20, 20]]), np.array([0.9, NAN, INF])


def test_masks_without_a_number_are_dropped():
    found = everything(Broken(), WHITE, points_per_side=4, **FREE)
    assert (found.left.after_iou, found.left.after_stability, len(found)) == (48, 32, 32)
    assert found.notes == (
        "16 masks were dropped: the decoder's logits are not numbers",
        "16 masks have logits that are not numbers: they count as outside",
    )


def test_ratings_without_a_number_are_dropped():
    one = {"points_per_side": 1, **FREE}
    found = everything(Discs((INF, 0.9, 0.8)), WHITE, **one)
    assert found.notes == ("1 mask was dropped: the decoder's predicted IoU is not a number",)
    assert [each.predicted_iou for each in found] == pytest.approx([0.9, 0.8])


@pytest.mark.parametrize(("logit", "iou", "says"), [(NAN, 0.9, "logits"), (0, NAN, "predicted")])
def test_boxes_whose_answer_is_none_are_dropped(logit, iou, says):
    class Odd(Discs):
        def boxes(self, boxes):
            logits, _ = super().boxes(boxes)
            return logits + np.float32(logit), np.full((len(boxes), 1), iou, np.float32)

    found = everything(Odd(), WHITE, "object_aware", boxes=[[5, 5, 20, 20], [7, 7, 30, 30]])
    assert len(found) == 0
    assert len(found.notes) == 1
    assert f"2 masks were dropped: the decoder's {says}" in found.notes[0]


def test_points_without_a_score_are_said():
    found = everything(Broken(), WHITE, "proposed", **FREE)
    assert found.asked.prompts == 1
    assert found.notes[-1] == "2 points were dropped: the proposed score is not a number"


def test_a_head_that_gives_no_score_at_all_is_an_error(monkeypatch):
    monkeypatch.setattr(bundles, "has_proposer", lambda manifest: True)
    mask = SimpleNamespace(threshold=0.0, low_res_size=4)
    scores = np.full((1, 1, 4, 4), NAN, np.float32)
    segmenter = SimpleNamespace(
        manifest=SimpleNamespace(mask=mask, prompts=None, variant="demo"),
        rates_first=False,
        beside=lambda name: (scores, None),
    )
    with pytest.raises(ExportError, match="demo's point_scores are not numbers: use another"):
        bundles.SlotPredictor(segmenter).proposals()


def test_a_single_mask_says_it_as_well():
    asked = SimpleNamespace(name="1")
    good = np.zeros((1, 2, 2), np.float32)
    rated = np.ones(1, np.float32)
    one, odd, unrated = (
        Segmented(asked, Masks(good > 0, iou, logits))
        for iou, logits in ((rated, good), (rated, good * NAN), (rated * NAN, good))
    )
    assert [*faults([one])] == []
    assert next(faults([odd])).startswith("mask 0: the decoder's logits are not numbers; use")
    assert next(faults([unrated])).startswith("mask 0: the decoder's predicted IoU is not a number")
    assert len([*faults([one, odd, unrated])]) == 2
