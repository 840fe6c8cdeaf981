"""Everything, against the published generators: prompts, counts, and masks to the pixel, in order.

The networks are a stand-in of formulas (`scene.py`), so nothing here is about a network.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from runtimes.everything import everything
from runtimes.everything.methods import hierarchical
from runtimes.everything.steps.runs import mask_of
from tests.conformance.everything.published import GENERATORS, cases

pytestmark = pytest.mark.conformance
METHODS = {
    "sam": "grid",
    "sam2": "grid",
    "tinysam": "hierarchical",
    "mobilesam_v2": "object_aware",
}


def options_of(case):
    options = dict(case.facts["options"])
    if case.generator == "sam2":
        options["components"] = case.facts["components"]
    if case.generator == "mobilesam_v2":
        options["boxes"] = case.array("asked_boxes")
    return options


@pytest.fixture(scope="module", params=[c for name in GENERATORS for c in cases(name)], ids=str)
def asked(request):
    case = request.param
    predictor = case.predictor()
    image = predictor.scene.image()
    covered = []
    with pytest.MonkeyPatch.context() as patch:
        inner = hierarchical.covered
        patch.setattr(
            hierarchical, "covered", lambda asker: covered.append(inner(asker)) or covered[-1]
        )
        found = everything(predictor, image, METHODS[case.generator], **options_of(case))
    predictor.covered = covered
    return case, predictor, found


def test_the_same_prompts_are_asked_in_the_same_calls(asked):
    case, predictor, found = asked
    name = "asked_boxes" if case.generator == "mobilesam_v2" else "points"
    assert np.array_equal(np.concatenate(predictor.asked), case.array(name))
    assert predictor.per_call == [tuple(row) for row in case.array("calls").tolist()]
    if case.generator != "mobilesam_v2":
        assert predictor.crops == [tuple(row) for row in case.array("crops").tolist()]
    told = case.facts["asked"]
    assert (found.asked.images, found.asked.calls) == (told["encoder"], told["decoder"])
    assert found.asked.prompts == found.asked.planned == told["prompts"]


def test_every_filter_leaves_as_many(asked):
    case, _, found = asked
    if case.generator == "mobilesam_v2":
        assert len(found) == case.facts["kept"]
        return
    left, ours = case.facts["left"], found.left
    assert ours.candidates == left["candidates"]
    assert ours.after_iou == left["after_iou"]
    assert ours.after_stability == left["after_stability"]
    assert ours.after_edges == left["after_edges"]
    assert [list(pair) for pair in ours.nms] == left["nms"]
    assert len(found) == case.facts["kept"]


def test_the_same_masks_come_in_the_same_order(asked):
    case, _, found = asked
    areas = case.array("area")
    assert [each.area for each in found] == areas.tolist()
    if case.generator == "mobilesam_v2":
        # Masks of one area lie in the order of their checksums in the case.
        checksums = [zlib.crc32(each.runs.astype("<i4").tobytes()) for each in found]
        pairs = sorted(zip((-areas).tolist(), checksums, strict=True))
        assert [checksum for _, checksum in pairs] == case.array("rle_checksum").tolist()
        return
    for mine, theirs in zip(found, case.runs(), strict=True):
        assert np.array_equal(mine.runs, theirs)


def test_the_records_are_the_published_ones(asked):
    case, _, found = asked
    if case.generator == "mobilesam_v2":
        return
    assert np.array_equal([s.bbox for s in found], case.array("boxes").reshape(-1, 4)) or not found
    assert [np.float32(s.predicted_iou) for s in found] == case.array("predicted_iou").tolist()
    stable = case.array("stability_score").tolist()
    assert [np.float32(s.stability_score) for s in found] == stable
    clicks = case.array("point_coords").reshape(-1, 2)
    assert np.array_equal(np.array([s.point_coords for s in found]).reshape(-1, 2), clicks)
    if case.generator != "tinysam" and len(found):
        assert np.array_equal([s.crop_box for s in found], case.array("crop_boxes"))


def test_the_text_of_run_lengths_is_cocos(asked):
    case, _, found = asked
    if "coco_rle" not in case.facts:
        return
    texts = [record["segmentation"]["counts"] for record in found.records()]
    assert texts == case.facts["coco_rle"]


def test_the_first_pass_covers_the_same_pixels(asked):
    case, predictor, _ = asked
    if case.generator != "tinysam":
        return
    (runs,), (covered,) = case.runs("covered_rle"), predictor.covered
    assert np.array_equal(covered, mask_of(runs, covered.shape))
    assert covered.sum() == case.facts["covered"]
