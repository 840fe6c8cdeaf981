"""What the published cases do not hold: odd pictures, odd scores, stopping, and bundles."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.folder import open_bundle
from exporter.errors import ImageError, PromptError, RequestError
from exporter.signals import Terminated
from runtimes.everything import everything
from runtimes.everything.asking import HeldLogits
from runtimes.everything.bundles import predictor_of
from runtimes.segmenters import open_segmenter
from tests.unit.runtimes.segmenters.tiny_alone import build_detector
from tests.unit.small_pictures import RGB

WHITE = np.full((40, 60, 3), 255, np.uint8)
LOW = 16


class Discs:
    """Answers a click with three discs around it; `rate` says how it rates them."""

    frame, size = "pad", 64

    def __init__(self, rate=(0.9, 0.95, 0.89), stop_after=0):
        self.rate, self.stop_after, self.calls = rate, stop_after, 0

    def set_image(self, image):
        self.scale = LOW / max(image.shape[:2])

    def points(self, points, multimask=True, mask_input=None):
        self.calls += 1
        if self.stop_after and self.calls > self.stop_after:
            raise KeyboardInterrupt
        y, x = np.mgrid[:LOW, :LOW] + 0.5
        logits = [
            [
                80 * (radius - np.hypot(x - px * self.scale, y - py * self.scale))
                for radius in (2, 3, 4)
            ]
            for px, py in points
        ]
        return np.array(logits, np.float32), np.tile(np.float32(self.rate), (len(points), 1))

    def boxes(self, boxes):
        corners = np.asarray(boxes).reshape(-1, 2, 2)
        logits, _ = self.points(corners.mean(axis=1))
        return logits[:, :1], np.full((len(boxes), 1), 0.9, np.float32)


@pytest.mark.parametrize("method", ["grid", "hierarchical"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (37, 1), (40, 60)])
def test_any_size_of_picture(method, shape):
    image = np.zeros((*shape, 3), np.uint8)
    found = everything(Discs(), image, method, points_per_side=4)
    assert found.size == shape
    assert len(found)
    assert all(each.mask.shape == shape and each.mask.sum() == each.area for each in found)


def test_crops_of_one_pixel_ask_it_once():
    found = everything(Discs(), np.zeros((1, 1, 3), np.uint8), points_per_side=2, crop_n_layers=2)
    assert found.asked.images == 3  # of each layer, the one crop that has the pixel
    assert found.asked.prompts == found.asked.planned


def test_nothing_passes():
    found = everything(Discs(rate=(0.1, 0.2, 0.3)), WHITE, points_per_side=4, crop_n_layers=1)
    assert (len(found), found.left.after_iou, found.left.candidates) == (0, 0, 240)
    assert not found.partial
    assert found.labels().max() == 0


def test_everything_passes():
    free = {"pred_iou_thresh": 0, "stability_score_thresh": 0, "box_nms_thresh": 1.0}
    found = everything(Discs(rate=(-5, 0, 7)), WHITE, points_per_side=4, **free)
    assert len(found) == found.left.candidates == 48
    assert found[0].predicted_iou == 7


def test_scores_that_are_no_numbers_are_dropped_and_said():
    nan = float("nan")
    for threshold in (0.88, 0):
        found = everything(
            Discs(rate=(nan, 0.95, nan)), WHITE, points_per_side=4, pred_iou_thresh=threshold
        )
        assert found.left.after_iou == 16
        assert "32 masks were dropped" in found.notes[0]


def test_logits_that_are_no_numbers_are_outside():
    class Broken(Discs):
        def points(self, points, multimask=True, mask_input=None):
            logits, ious = super().points(points)
            logits[:, :, :8] = np.nan
            return logits, ious

    found = everything(Broken(), WHITE, points_per_side=4, stability_score_thresh=0)
    assert len(found)
    assert not any(each.mask[:20].any() for each in found)


def test_no_boxes_no_masks_and_no_encoder_run():
    found = everything(Discs(), WHITE, "object_aware", boxes=np.zeros((0, 4)))
    assert (len(found), found.asked.images) == (0, 0)


def test_a_covered_picture_goes_on_with_the_first_pass():
    found = everything(Discs(), WHITE, "hierarchical", points_per_side=8, high_score_thresh=-1e9)
    assert found.asked.prompts == found.asked.planned == 4
    assert len(found) == found.left.nms[0][1] > 0


def test_stopping_keeps_what_was_asked():
    stopped = everything(
        Discs(stop_after=2), WHITE, points_per_side=4, points_per_batch=4, keep_partial=True
    )
    assert stopped.partial
    assert (stopped.asked.prompts, stopped.asked.planned) == (8, 16)
    whole = everything(Discs(), WHITE, points_per_side=4, points_per_batch=4)
    assert 0 < len(stopped) < len(whole)
    with pytest.raises(KeyboardInterrupt):
        everything(Discs(stop_after=2), WHITE, points_per_side=4, points_per_batch=4)


def test_stopping_between_crops_and_passes():
    for method, options in (("grid", {"crop_n_layers": 1}), ("hierarchical", {})):
        found = everything(
            Discs(stop_after=1), WHITE, method, points_per_side=8, keep_partial=True, **options
        )
        assert found.partial
        assert len(found)
        assert found.asked.prompts < found.asked.planned


def test_an_end_is_no_wish_for_a_part():
    class Ended(Discs):
        def points(self, points, multimask=True, mask_input=None):
            raise Terminated

    with pytest.raises(Terminated):
        everything(Ended(), WHITE, points_per_side=4, keep_partial=True)


def test_progress_is_told_after_each_call():
    told = []
    everything(Discs(), WHITE, points_per_side=4, points_per_batch=6, report=told.append)
    assert [each.done for each in told] == [6, 12, 16]
    assert {each.planned for each in told} == {16}


def test_labels_put_small_masks_on_large_ones():
    free = {"box_nms_thresh": 1.0, "pred_iou_thresh": 0}
    found = everything(Discs(), WHITE, points_per_side=1, **free)
    assert len(found) == 3
    flat = found.labels()
    smallest = min(range(3), key=lambda at: found[at].area)
    assert np.array_equal(flat == smallest + 1, found[smallest].mask)
    assert np.array_equal(flat > 0, np.any([each.mask for each in found], axis=0))


def test_fast_chooses_by_the_networks_pixels_and_says_so():
    whole = everything(Discs(), WHITE, points_per_side=4)
    quick = everything(Discs(), WHITE, points_per_side=4, fast=True)
    assert "mean IoU" in quick.notes[0]
    assert {each.area for each in quick} <= {each.area for each in whole} | {0}
    for each in quick:  # what it keeps has its own box, at the picture's size
        ys, xs = np.nonzero(each.mask)
        width, height = xs.max() - xs.min(), ys.max() - ys.min()
        assert each.bbox == (xs.min(), ys.min(), width, height)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"points_per_sid": 4}, "did you mean points_per_side"),
        ({"points_per_side": 0}, "points_per_side is a whole number from 1 to 256, not 0"),
        ({"points_per_side": 4.0}, "a whole number"),
        ({"pred_iou_thresh": float("nan")}, "pred_iou_thresh is a number"),
        ({"box_nms_thresh": -1}, "from 0"),
        ({"output_mode": "png"}, "one of binary_mask"),
        ({"points_per_side": None}, "one of the two"),
        ({"point_grids": [[[0.5, 0.5]]]}, "one of the two"),
        ({"points_per_side": None, "point_grids": [[[0.5, 1.5]]]}, "in 0..1"),
        ({"points_per_side": None, "point_grids": ["x"]}, "in 0..1"),
        (
            {"points_per_side": None, "point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1},
            "no points for the crops of layer 1",
        ),
        (
            {"points_per_side": 4, "crop_n_layers": 3, "crop_n_points_downscale_factor": 2},
            "downscale_factor 2 leaves no point for the crops of layer 3",
        ),
        ({"generator": "sam3"}, "sam or sam2"),
    ],
)
def test_options_that_cannot_be(options, says):
    with pytest.raises(RequestError, match=says):
        everything(Discs(), WHITE, "grid", **options)


def test_methods_and_pictures_that_cannot_be():
    with pytest.raises(RequestError, match="did you mean hierarchical"):
        everything(Discs(), WHITE, "tinysam")
    with pytest.raises(RequestError, match="unknown option of detector"):
        everything(Discs(), WHITE, "detector", points_per_side=4)
    with pytest.raises(RequestError, match="finds objects by itself"):
        everything(Discs(), WHITE, "detector")
    with pytest.raises(RequestError, match="one of the two"):
        everything(Discs(), WHITE, "object_aware")
    with pytest.raises(RequestError, match="n x 4"):
        everything(Discs(), WHITE, "object_aware", boxes=[[1, 2, 3]])
    with pytest.raises(RequestError, match="4 points a side"):
        everything(Discs(), WHITE, "hierarchical", points_per_side=3)
    with pytest.raises(ImageError, match="uint8"):
        everything(Discs(), WHITE.astype(np.float32))


def test_logits_wait_in_a_file_when_they_are_many():
    held = HeldLogits(most=3 * 4 * 16)
    given = [np.full((4, 4), at, np.float32) for at in range(9)]
    back = [held.keep(each) for each in given]
    for at in (8, 0, 5, 3, 2, 7):
        assert np.array_equal(back[at](), given[at])


def test_a_bundle_answers_as_its_segmenter_does(tiny):
    segmenter = open_segmenter(tiny)
    predictor = predictor_of(segmenter)
    predictor.set_image(RGB)
    height, width = RGB.shape[:2]
    clicks = np.array([[width * 0.3, height * 0.5], [width * 0.7, height * 0.4]])
    logits, ious = predictor.points(clicks)
    single, _ = predictor.points(clicks, False)
    boxed, _ = predictor.boxes(np.array([[1, 2, width - 3, height - 2]], np.float32))
    for at, click in enumerate(clicks):
        expected = segmenter.predict([click], [1], multimask=True)
        np.testing.assert_array_equal(logits[at], expected.low_res_masks)
        np.testing.assert_array_equal(ious[at], expected.iou_predictions)
        one = segmenter.predict([click], [1])
        np.testing.assert_array_equal(single[at], one.low_res_masks)
        again, _ = predictor.points(clicks[at : at + 1], False, logits[at, :1])
        refined = segmenter.predict([click], [1], mask_input=logits[at, :1])
        np.testing.assert_array_equal(again[0], refined.low_res_masks)
        masks = predictor.upscaler(logits.shape[2:], (height, width))
        for token in range(3):
            upscaled = masks.mask(logits[at, token], predictor.mask_threshold)
            np.testing.assert_array_equal(upscaled, expected.masks[token])
    whole = segmenter.predict(box=(1, 2, width - 3, height - 2))
    np.testing.assert_array_equal(boxed[0], whole.low_res_masks)


def test_everything_of_a_bundle(tiny):
    predictor = predictor_of(open_segmenter(tiny))
    found = everything(
        predictor, RGB, points_per_side=4, pred_iou_thresh=0.8, stability_score_thresh=0
    )
    assert found.asked.prompts == 16
    assert len(found) == found.left.nms[-1][1] > 0


def test_a_segmenter_and_a_file_are_enough(tiny, here):
    segmenter = open_segmenter(tiny)
    options = {"points_per_side": 4, "pred_iou_thresh": 0.6, "stability_score_thresh": 0}
    found = everything(segmenter, "dog.png", **options)
    same = everything(predictor_of(segmenter), RGB, **options)
    assert [each.area for each in found] == [each.area for each in same] != []


def test_boxes_outside_the_picture_are_refused(tiny):
    with pytest.raises(PromptError, match="outside"):
        everything(
            predictor_of(open_segmenter(tiny)), RGB, "object_aware", boxes=[[900, 900, 999, 999]]
        )


def test_a_detectors_objects_and_its_boxes_for_another_bundle(tiny, tmp_path):
    build_detector(tmp_path / "found-onnx-fp32")
    bundle = open_bundle(tmp_path / "found-onnx-fp32")
    finder = predictor_of(open_segmenter(bundle))
    image = np.zeros((64, 64, 3), np.uint8)
    found = everything(finder, image, "detector")
    assert len(found) > 1
    scores = [each.predicted_iou for each in found]
    assert scores == sorted(scores, reverse=True)
    masks = open_segmenter(bundle)
    masks.set_image(image)
    for each, mask in zip(found, masks.predict().masks, strict=True):
        assert np.array_equal(each.mask, mask)
    boxed = everything(predictor_of(open_segmenter(tiny)), image, "object_aware", detector=finder)
    assert 0 < len(boxed) <= len(found)
    with pytest.raises(RequestError, match="use detector"):
        everything(finder, image)
