from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exporter.bundle.folder import Bundle, open_bundle
from exporter.bundle.masks import choose_tokens, clamp_logits
from exporter.bundle.preprocess import fit, image_input, upscale
from exporter.bundle.prompts import Prompts
from exporter.bundle.rules import MaskRule, Stability
from exporter.errors import BundleError, ImageError, PromptError, RequestError
from runtimes.prompt_arrays import as_prompts
from runtimes.segmenters.slots import SlotSegmenter, mask_inputs
from tests.unit.tiny_bundle import LOW, SIZE, SLOTS, Recipe, build, decode, encode

RGB = np.random.default_rng(5).integers(0, 256, (60, 120, 3), np.uint8)


@pytest.fixture
def segmenter(tiny):
    made = SlotSegmenter(tiny)
    made.set_image(RGB)
    return made


@pytest.fixture
def twin(tiny):
    """The numpy decoder on the same image: prompts -> logits (M, h, w) and iou (M,)."""
    image, _ = image_input(RGB, tiny.manifest.preprocess)

    def run(points, labels, mask_input=None):
        slots = np.full((1, SLOTS, 3), (0, 0, -2), np.float32)
        slots[0, : len(points), :2] = np.array(points) * SIZE / 120
        slots[0, : len(points), 2] = labels
        earlier = np.zeros((1, 1, LOW, LOW), np.float32)
        if mask_input is not None:
            earlier = mask_input.reshape(1, 1, LOW, LOW)
        has = np.array([float(mask_input is not None)])
        masks, iou = decode(encode(image), slots[..., :2], slots[..., 2], earlier, has)
        return masks[0], iou[0]

    return run


def test_a_click_gives_the_single_token_at_the_images_size(segmenter, twin):
    result = segmenter.predict([[40, 30]], [1])
    logits, iou = twin([(40, 30)], [1])
    assert result.masks.shape == (1, 60, 120)
    assert result.masks.dtype == bool
    np.testing.assert_allclose(result.low_res_masks, logits[:1], atol=1e-4)
    np.testing.assert_allclose(result.iou_predictions, iou[:1], atol=1e-6)
    assert result.masks[0, 30, 40]
    assert not result.masks[0, 30, 110]


def test_the_mask_is_the_upscaled_logit_above_the_threshold(segmenter, tiny):
    result = segmenter.predict([[40, 30]], [1])
    full = upscale(result.low_res_masks, fit(120, 60, tiny.manifest.preprocess))
    np.testing.assert_array_equal(result.masks, full > 0)
    assert 0 < result.masks.mean() < 1


def test_multimask_gives_the_published_tokens_in_order(segmenter, twin):
    result = segmenter.predict([[40, 30]], [1], multimask=True)
    logits, iou = twin([(40, 30)], [1])
    np.testing.assert_allclose(result.low_res_masks, logits[1:], atol=1e-4)
    np.testing.assert_allclose(result.iou_predictions, iou[1:], atol=1e-6)
    assert result.masks.shape == (3, 60, 120)
    assert result.best == 1


def test_prompts_change_the_mask(segmenter, twin):
    left, right = segmenter.predict([[20, 30]], [1]), segmenter.predict([[100, 30]], [1])
    assert not (left.masks & right.masks).any()
    hole = segmenter.predict([[20, 30], [40, 30]], [1, 0])
    logits, _ = twin([(20, 30), (40, 30)], [1, 0])
    np.testing.assert_allclose(hole.low_res_masks, logits[:1], atol=1e-4)


def test_a_box_is_its_two_corners(segmenter, twin):
    result = segmenter.predict(box=(10, 10, 70, 50))
    logits, _ = twin([(10, 10), (70, 50)], [2, 3])
    np.testing.assert_allclose(result.low_res_masks, logits[:1], atol=1e-4)


@pytest.mark.parametrize("shape", [(LOW, LOW), (1, LOW, LOW)])
def test_an_earlier_result_can_be_refined(segmenter, twin, shape):
    first = segmenter.predict([[40, 30]], [1])
    earlier = first.low_res_masks.reshape(shape)
    second = segmenter.predict([[40, 30]], [1], mask_input=earlier)
    logits, _ = twin([(40, 30)], [1], earlier)
    np.testing.assert_allclose(second.low_res_masks, logits[:1], atol=1e-4)
    assert np.abs(second.low_res_masks - first.low_res_masks).max() > 0.01


@pytest.mark.parametrize(
    ("mask_input", "message"),
    [
        (np.zeros((3, LOW, LOW), np.float32), "is one mask, and this has 3"),
        (np.zeros((8, 8), np.float32), "one of an earlier"),
        (np.zeros((LOW, LOW), bool), "one of an earlier"),
        (np.full((LOW, LOW), np.nan, np.float32), "not finite"),
    ],
)
def test_a_wrong_mask_input_is_refused(segmenter, mask_input, message):
    with pytest.raises(PromptError, match=message):
        segmenter.predict([[40, 30]], [1], mask_input=mask_input)


def test_mask_inputs_fill_every_set():
    inputs = mask_inputs(np.full((4, 4), 2.0, np.float32), 4, 3)
    assert inputs["mask_input"].shape == (3, 1, 4, 4)
    assert inputs["mask_input"].min() == 2
    np.testing.assert_array_equal(inputs["has_mask_input"], [1, 1, 1])


def test_without_a_single_token_the_best_of_the_others_is_taken(tmp_path, twin):
    build(tmp_path / "bundle", Recipe(single=-1))
    made = SlotSegmenter(open_bundle(tmp_path / "bundle"))
    made.set_image(RGB)
    result = made.predict([[40, 30]], [1])
    logits, iou = twin([(40, 30)], [1])
    assert result.iou_predictions[0] == pytest.approx(iou[1:].max())
    np.testing.assert_allclose(result.low_res_masks, logits[2:3], atol=1e-4)


def test_token_zero_is_never_the_best_of_multi(tiny):
    rule = replace(tiny.manifest.mask, single=-1)
    logits, iou = np.zeros((4, 2, 2), np.float32), np.array([9, 1, 2, 3], np.float32)
    assert choose_tokens(rule, logits, iou, multimask=False) == (3,)
    assert choose_tokens(rule, logits, iou, multimask=True) == (1, 2, 3)


def test_an_unstable_single_mask_gives_way_to_the_best_of_the_others():
    rule = MaskRule(0.0, 0, (1, 2, 3), "bilinear_once", 10, Stability(0.05, 0.98), 32.0)
    iou = np.array([9, 1, 3, 2], np.float32)
    logits = np.zeros((4, 10, 10), np.float32)
    for undecided, wanted in ((2, (0,)), (3, (2,)), (100, (2,))):
        logits[0] = 1.0
        logits[0].flat[:undecided] = 0.05  # not above delta
        assert choose_tokens(rule, logits, iou, multimask=False) == wanted, undecided
    logits[0] = -1.0  # nothing at all: as stable as can be
    assert choose_tokens(rule, logits, iou, multimask=False) == (0,)
    assert choose_tokens(rule, logits, iou, multimask=True) == (1, 2, 3)
    assert np.ptp(clamp_logits(np.array([-99, 99], np.float32), rule)) == 64.0


def test_many_sets_in_one_call_give_what_single_calls_give(tmp_path):
    build(tmp_path / "bundle", Recipe(batch=3))
    made = SlotSegmenter(open_bundle(tmp_path / "bundle"))
    made.set_image(RGB)
    sets = [Prompts(((20.0, 30.0),), (1,)), Prompts(box=(10.0, 10.0, 70.0, 50.0))]
    many = made.predict_many(sets)
    assert len(many) == 2
    alone = [made.predict([[20, 30]], [1]), made.predict(box=(10, 10, 70, 50))]
    for one, other in zip(many, alone, strict=True):
        np.testing.assert_array_equal(one.masks, other.masks)
        np.testing.assert_array_equal(one.low_res_masks, other.low_res_masks)
    more = made.predict_many([*sets, *sets, sets[1]], multimask=True)
    assert [len(masks.masks) for masks in more] == [3] * 5
    np.testing.assert_array_equal(
        more[4].masks, made.predict(box=(10, 10, 70, 50), multimask=True).masks
    )
    assert made.predict_many([]) == ()


def test_predict_needs_an_image(tiny):
    with pytest.raises(RequestError, match="call set_image before predict"):
        SlotSegmenter(tiny).predict([[1, 1]], [1])


def test_a_new_image_replaces_the_old(segmenter):
    segmenter.set_image(RGB[:20, :30])
    assert segmenter.predict([[4, 4]], [1]).masks.shape == (1, 20, 30)
    with pytest.raises(PromptError, match="outside the image"):
        segmenter.predict([[100, 4]], [1])


def test_a_wrong_image_is_refused(segmenter):
    with pytest.raises(ImageError, match="negative"):
        segmenter.set_image(RGB.astype(np.float32) - 120)


@pytest.mark.parametrize(
    ("points", "labels", "box", "message"),
    [
        ([[1, 2, 3]], [1], None, "points should be n x 2"),
        ([1, 2, 3], [1], None, "points should be n x 2"),
        ([[[1, 2]]], [1], None, "points should be n x 2"),
        ([["a", "b"]], [1], None, "points are not numbers"),
        ([[1, 2]], [[1]], None, "labels should be n numbers"),
        ([[1, 2]], [0.5], None, "not 0.5"),
        ([[1, 2]], [2], None, "not 2"),
        (None, None, (1, 2, 3), "box should be 4"),
        (None, None, [[1, 2], [3, 4]], "box should be 4"),
        (None, None, [[1, 2, 3, 4], [5, 6, 7, 8]], "box holds 2 boxes: predict_many"),
        (None, None, {}, "box are not numbers"),
        ([[10**400, 1]], [1], None, "points are not numbers"),
        ([[1j, 1]], [1], None, "points are not numbers"),
        ([[1, 2], [3]], [1, 1], None, "points are not numbers"),
        (None, None, None, "no prompt"),
        ([[1, 2]], None, None, "points: 1, labels: 0"),
        ([[np.nan, 2]], [1], None, "outside"),
    ],
)
def test_wrong_prompts_are_named(segmenter, points, labels, box, message):
    with pytest.raises(PromptError, match=message):
        segmenter.predict(points, labels, box)


def test_prompts_from_arrays():
    made = as_prompts(np.array([[1, 2], [3, 4]]), np.array([1, 0]), np.array([0, 0, 5, 5.5]))
    assert made == Prompts(((1.0, 2.0), (3.0, 4.0)), (1, 0), (0.0, 0.0, 5.0, 5.5))


def test_a_bundle_without_the_two_graphs_takes_no_prompts(tmp_path):
    folder = tmp_path / "bundle"
    sealed = build(folder)
    alone = replace(sealed, graphs=sealed.graphs[:1])
    with pytest.raises(BundleError, match="takes no prompts"):
        SlotSegmenter(Bundle(folder, alone))
