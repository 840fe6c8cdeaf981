"""Which mask, pointer and score a frame gets, as SAM 2's heads decide."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.rules import MaskRule, Stability
from runtimes.tracking.decide import Decoded, Rules, decide
from tests.unit.video_bundle import RULE

NOBODY = np.full(2, -7, np.float32)
MASK = MaskRule(0.0, 0, (1, 2, 3), "bilinear_once", 4, Stability(0.05, 0.98), 32.0)
RULES = Rules(MASK, RULE, NOBODY)


def decoded(*, stable: bool = True, score: float = 1.0) -> Decoded:
    logits = np.stack([np.full((4, 4), 1.0 + token, np.float32) for token in range(4)])
    if not stable:
        logits[0, :2] = 0.01
    iou = np.array([0.99, 0.2, 0.8, 0.5], np.float32)
    pointers = np.stack([np.full(2, token, np.float32) for token in range(4)])
    return Decoded(logits, iou, pointers, score)


@pytest.mark.parametrize(
    ("points", "stable", "mask", "pointer"),
    [
        (0, True, 2, 2),
        (1, True, 2, 2),
        (1, False, 2, 2),
        (2, True, 0, 0),
        (2, False, 2, 0),
        (5, False, 2, 0),
    ],
)
def test_one_click_may_mean_several_things_and_more_mean_one(points, stable, mask, pointer):
    given = decoded(stable=stable)
    found = decide(given, points, RULES, prompted=points > 0)
    np.testing.assert_array_equal(found.logits, given.logits[mask])
    np.testing.assert_array_equal(found.pointer, given.pointers[pointer])
    assert found.iou == given.iou[mask]
    assert found.prompted == (points > 0)


@pytest.mark.parametrize("score", [0.0, -0.1])
def test_an_absent_object_has_no_mask_and_no_pointer_of_its_own(score):
    found = decide(decoded(score=score), 1, RULES, prompted=True)
    assert (found.logits == -1024).all()
    np.testing.assert_array_equal(found.pointer, NOBODY)
    assert not found.present
    assert found.score == score


def test_a_score_just_above_zero_is_an_object():
    assert decide(decoded(score=1e-6), 1, RULES, prompted=True).present
