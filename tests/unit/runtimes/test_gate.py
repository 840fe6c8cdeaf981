"""The masks that decide whether a bundle of few bits is good."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.masks import Masks
from exporter.errors import ParityError
from runtimes.gate import Tally, boundary, dead_channels, iou, moves, saturated_channels
from runtimes.measures import FLOORS, find_misses


def square(side, low, high):
    mask = np.zeros((side, side), bool)
    mask[low:high, low:high] = True
    return mask


def masks(*pictures, scores):
    return Masks(np.stack(pictures), np.float32(scores), np.zeros((1, 1, 1), np.float32))


def figures(tally, precision="int8"):
    return {figure.measure: figure for figure in tally.figures(precision)}


def test_iou_of_masks():
    assert iou(square(10, 0, 4), square(10, 0, 4)) == 1
    assert iou(square(10, 0, 4), square(10, 0, 2)) == pytest.approx(4 / 16)
    assert iou(square(10, 0, 0), square(10, 0, 0)) == 1
    assert iou(square(10, 0, 4), square(10, 5, 9)) == 0


def test_a_boundary_is_the_band_inside_a_mask():
    band = boundary(square(20, 5, 15), 2)
    assert int(band.sum()) == 100 - 6 * 6
    assert not band[8:12, 8:12].any()
    assert not (band & ~square(20, 5, 15)).any()


def test_a_volumes_boundary_is_a_shell():
    mask = np.zeros((12, 13, 14), bool)
    mask[2:10, 3:10, 4:9] = True
    inner = np.zeros_like(mask)
    inner[4:8, 5:8, 6:7] = True
    assert np.array_equal(boundary(mask, 2), mask & ~inner)


def test_a_mask_at_the_pictures_edge_has_its_boundary_there():
    assert boundary(np.ones((8, 8), bool), 1).sum() == 64 - 36


def test_the_best_masks_are_compared_and_another_choice_is_counted():
    tally = Tally()
    first, second = square(16, 0, 8), square(16, 0, 4)
    tally.add(masks(first, second, scores=[0.9, 0.1]), masks(first, second, scores=[0.8, 0.1]))
    tally.add(masks(first, second, scores=[0.9, 0.1]), masks(first, second, scores=[0.1, 0.9]))
    found = figures(tally)
    assert found["other_mask_share"].value == 0.5
    assert found["worst_mask_iou"].value == pytest.approx(16 / 64)
    assert found["mean_mask_iou"].value == pytest.approx((1 + 16 / 64) / 2)
    assert found["iou_prediction_error"].value == pytest.approx(0.05, abs=1e-6)


def test_detections_are_paired_by_their_masks():
    tally = Tally()
    one, other = square(16, 0, 8), square(16, 9, 15)
    tally.add_detections(masks(one, other, scores=[0.9, 0.8]), masks(other, one, scores=[0.9, 0.8]))
    assert figures(tally)["mean_mask_iou"].value == 1
    lost = Masks(np.zeros((0, 16, 16), bool), np.zeros(0, np.float32), np.zeros((0, 0, 0)))
    tally.add_detections(masks(one, scores=[0.9]), lost)
    assert figures(tally)["worst_mask_iou"].value == 0
    before = len(tally.ious)
    tally.add_detections(lost, lost)
    assert tally.others[-1] == 0
    tally.add_detections(lost, masks(one, scores=[0.9]))
    assert tally.others[-1] == 1
    assert len(tally.ious) == before


@pytest.mark.parametrize("precision", ["int8", "int8-weights", "int4-weights"])
def test_a_mean_under_the_floor_is_a_miss(precision):
    floor = FLOORS[precision]["*", "mean_mask_iou"].value
    tally = Tally(ious=[floor - 0.001], boundary_ious=[1], others=[0], score_errors=[0])
    assert [each.measure for each in find_misses(tally.figures(precision))] == ["mean_mask_iou"]
    tally.ious = [floor + 0.001]
    assert find_misses(tally.figures(precision)) == []


def test_a_dead_channel_is_a_miss():
    expected = np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)
    expected[:, 2] = 7
    actual = expected.copy()
    assert dead_channels(expected, actual) == 0
    actual[:, 0] = 1
    assert dead_channels(expected, actual) == 1
    tally = Tally([1.0], [1.0], [0.0], [0.0], dead=1)
    assert [each.measure for each in find_misses(tally.figures("int8"))] == ["dead_channels"]


def test_a_saturated_channel_is_a_miss():
    rng = np.random.default_rng(0)
    expected = rng.standard_normal((1, 4, 32, 32)).astype(np.float32)
    expected[:, 1] *= 4
    assert saturated_channels(expected, expected + 0.01) == 0
    assert saturated_channels(expected, np.clip(expected, -4, 4)) == 1
    tally = Tally([1.0], [1.0], [0.0], [0.0], saturated=1)
    assert [each.measure for each in find_misses(tally.figures("int8"))] == ["saturated_channels"]


def test_the_steps_of_eight_bits_saturate_nothing():
    """A channel of small values has few levels, and many values at its own highest."""
    expected = np.random.default_rng(0).standard_normal((1, 8, 32, 32)).astype(np.float32)
    expected *= np.float32([1, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2]).reshape(1, 8, 1, 1)
    step = (expected.max() - expected.min()) / 255
    assert saturated_channels(expected, np.rint(expected / step) * step) == 0


def test_clicks_that_mean_one_object_tell_nothing_of_sensitivity():
    logits = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    assert not moves([logits, logits * 1.05])
    assert moves([logits, -logits])
    assert not moves([logits, -logits, logits])


def test_no_masks_prove_nothing():
    with pytest.raises(ParityError, match="no mask was compared"):
        Tally().figures("int8")
