"""What ranks masks: the network's own estimate, or how little a mask changes with its threshold."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from exporter.bundle.folder import open_bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import choose_tokens, masks_of
from exporter.bundle.preprocess import Frame, mask_scores
from exporter.bundle.rules import MaskRule
from exporter.errors import RequestError
from exporter.host_rules import mask_rule
from exporter.variants import load_variant, variants
from runtimes.cli import main
from runtimes.segmenters.slots import SlotSegmenter
from tests.unit.tiny_bundle import Recipe, build, hashed

RGB = np.random.default_rng(7).integers(0, 256, (60, 120, 3), np.uint8)
STABLE = MaskRule(0.0, -1, (0, 1, 2, 3), "bilinear_once", 2, score="stability")


def published(logits: torch.Tensor, threshold: float, offset: float) -> torch.Tensor:
    """The IoU of the masks above a raised and a lowered threshold: one lies inside the other."""
    inner, outer = logits > threshold + offset, logits > threshold - offset
    return (inner & outer).flatten(-2).sum(-1) / (inner | outer).flatten(-2).sum(-1)


def test_stability_worked_out_by_hand():
    logits = np.array([[[3.0, 2.0], [0.5, -2.0]], [[1.5, 1.0], [-0.5, -1.0]]], np.float32)
    # Above 1: two and one (1.0 is not above 1). Above -1: three and three (-1.0 is not above -1).
    scores = mask_scores(logits, np.zeros(2, np.float32), STABLE)
    np.testing.assert_allclose(scores, [2 / 3, 1 / 3])
    moved = replace(STABLE, threshold=1.0, score_offset=0.5)
    # Above 1.5: two, and none (1.5 is not above 1.5). Above 0.5: two, and two.
    np.testing.assert_allclose(mask_scores(logits, np.zeros(2, np.float32), moved), [1.0, 0.0])


@pytest.mark.parametrize(("threshold", "offset"), [(0.0, 1.0), (0.0, 0.05), (0.7, 2.0)])
def test_stability_is_the_published_one(threshold, offset):
    logits = np.random.default_rng(0).normal(0, 3, (5, 4, 64, 64)).astype(np.float32)
    rule = replace(STABLE, threshold=threshold, score_offset=offset)
    ours = mask_scores(logits, np.zeros((5, 4), np.float32), rule)
    theirs = published(torch.from_numpy(logits), threshold, offset)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)


def test_a_mask_of_nothing_is_never_the_best():
    """The published quotient is 0 / 0 there, which `argmax` would take for the highest."""
    logits = np.full((4, 2, 2), -9.0, np.float32)
    logits[2, 0, 0] = logits[3] = 4.0
    logits[2, 1] = 0.0
    assert mask_scores(logits, np.zeros(4, np.float32), STABLE).tolist()[:2] == [0.0, 0.0]
    assert choose_tokens(STABLE, logits, np.zeros(4, np.float32), multimask=False) == (3,)


def test_the_score_chooses_and_is_what_a_caller_gets():
    logits = np.stack([np.full((2, 2), level, np.float32) for level in (0.5, 2.0, 0.1, -5.0)])
    logits[1, 0, 0] = 0.0
    iou = np.array([0.1, 0.2, 0.9, 0.8], np.float32)
    frame = Frame((4, 4), (2, 2), 2)
    one = masks_of(logits, iou, frame, STABLE, multimask=False)
    assert one.iou_predictions.tolist() == pytest.approx([0.2])
    assert one.scores.tolist() == [0.75]
    every = masks_of(logits, iou, frame, STABLE, multimask=True)
    assert every.scores.tolist() == [0.0, 0.75, 0.0, 0.0]
    assert (every.best, every.word) == (1, "stability")
    by_iou = masks_of(logits, iou, frame, replace(STABLE, score="iou_predictions"), multimask=True)
    assert (by_iou.best, by_iou.word, by_iou.stability) == (2, "iou", None)


def test_the_published_exports_that_offer_it():
    able = {v.family for v in variants().values() if v.stability is not None}
    assert able == {"demo", "edge_sam", "mobile_sam", "repvit_sam", "sam"}
    for variant in variants().values():
        if variant.stability is not None:
            assert (variant.stability.score, variant.stability.score_offset) == ("stability", 1.0)
            assert (
                replace(variant.stability, score="iou_predictions", single=0, multi=(1, 2, 3))
                == variant.mask
            )


def test_edge_sam_takes_the_most_stable_of_all_four():
    variant = load_variant("edge_sam")
    rule = mask_rule(variant, "stability")
    assert (rule.single, rule.multi) == (-1, (0, 1, 2, 3))
    assert mask_rule(variant, "iou_predictions") == variant.mask
    with pytest.raises(RequestError, match="sam2_hiera_tiny cannot rank masks by stability"):
        mask_rule(load_variant("sam2_hiera_tiny"), "stability")


@pytest.fixture
def stable_folder(tmp_path):
    build(tmp_path / "bundle", Recipe(single=-1, score="stability"))
    return tmp_path / "bundle"


def test_the_manifest_carries_it(stable_folder):
    manifest = open_bundle(stable_folder).manifest
    assert manifest.mask.score == "stability"
    assert Manifest.from_json(manifest.to_json()) == manifest
    data = json.loads(manifest.to_json())
    del data["mask"]["score"], data["mask"]["score_offset"]  # a bundle from before there was one
    assert Manifest.from_json(hashed(data)).mask.score == "iou_predictions"


def test_a_segmenter_ranks_by_it(stable_folder):
    made = SlotSegmenter(open_bundle(stable_folder))
    made.set_image(RGB)
    every = made.predict([[40, 30]], [1], multimask=True)
    wanted = published(torch.from_numpy(every.low_res_masks), 0.0, 1.0).numpy()
    np.testing.assert_allclose(every.scores, wanted, rtol=1e-6)
    one = made.predict([[40, 30]], [1])
    np.testing.assert_array_equal(one.low_res_masks[0], every.low_res_masks[wanted.argmax()])
    assert int(every.iou_predictions.argmax()) != int(wanted.argmax())  # else nothing is shown


def test_sam_run_says_which_score_it_is(stable_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RGB).save("dog.png")
    assert main([str(stable_folder), "dog.png", "--point", "40,30"]) == 0
    assert capsys.readouterr().out.startswith("mask 0: stability 0.")
    assert main([str(stable_folder), "dog.png", "--point", "40,30", "--json"]) == 0
    (mask,) = json.loads(capsys.readouterr().out)["masks"]
    assert {"iou_prediction", "stability"} < set(mask)
