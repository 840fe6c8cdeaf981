"""Single steps on random data, against the published functions."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.everything.cleaning import clean
from runtimes.everything.methods.hierarchical import second_points
from runtimes.everything.segments import Segment
from runtimes.everything.steps.boxes import near_crop_edge
from runtimes.everything.steps.grids import crops_of, layer_grids, point_grid
from runtimes.everything.steps.interpolation import Upscaler
from runtimes.everything.steps.regions import drop_islands, fill_holes, fill_logits
from runtimes.everything.steps.runs import area_of, box_of, coco_text, mask_of, runs_of
from tests.conformance.everything.published import Case, step

pytestmark = pytest.mark.conformance


def masks_of(case: Case):
    size = tuple(case.facts["size"])
    bits = np.unpackbits(case.array("masks"))
    pixels = size[0] * size[1]
    count = len(bits) // pixels
    return bits[: count * pixels].reshape(count, *size).astype(bool), size


def test_run_lengths_areas_boxes_and_text():
    case = step("run_lengths")
    masks, size = masks_of(case)
    wanted = case.runs()
    for at, mask in enumerate(masks[: len(wanted)]):
        runs = runs_of(mask, (0, 0), size)
        assert np.array_equal(runs, wanted[at])
        assert np.array_equal(mask_of(runs, size), mask)
        assert area_of(runs) == case.array("area")[at]
        assert list(box_of(runs, size[0])) == case.array("boxes")[at].tolist()
        assert coco_text(runs) == case.facts["coco_rle"][at]


def test_a_mask_in_a_rectangle_has_the_runs_of_the_whole():
    masks, size = masks_of(step("run_lengths"))
    for mask in masks:
        part = np.zeros_like(mask)
        part[4:20, 3:9] = mask[4:20, 3:9]
        assert np.array_equal(runs_of(mask[4:20, 3:9], (3, 4), size), runs_of(part, (0, 0), size))


def test_small_regions():
    case = step("small_regions")
    masks, size = masks_of(case)
    for (mask, area, islands, changed), wanted in zip(
        case.array("tried").tolist(), case.runs(), strict=True
    ):
        remove = drop_islands if islands else fill_holes
        runs, ours = remove(runs_of(masks[mask], (0, 0), size), size, area)
        assert np.array_equal(runs, wanted)
        assert ours == bool(changed)


def test_cleaning_up():
    case = step("clean_up")
    masks, size = masks_of(case)
    before = case.array("boxes_before")
    segments = []
    for at, (x0, y0, x1, y1) in enumerate(before.tolist()):
        runs = runs_of(masks[at], (0, 0), size)
        box = (x0, y0, x1 - x0, y1 - y0)
        segments.append(Segment(runs, size, area_of(runs), box, at, 1.0, None, (0, 0, *size[::-1])))
    cleaned = clean(segments, case.facts["min_area"], case.facts["nms_thresh"])
    assert [int(one.predicted_iou) for one in cleaned] == case.array("order").tolist()
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (one.bbox for one in cleaned)]
    assert np.array_equal(boxes, case.array("boxes"))
    for one, wanted in zip(cleaned, case.runs(), strict=True):
        assert np.array_equal(one.runs, wanted)


def test_stability():
    case = step("stability")
    logits = case.array("logits")
    same = Upscaler(*(np.eye(side, dtype=np.float32) for side in logits.shape[1:]))
    for (threshold, offset), wanted in zip(
        case.facts["threshold_offset"], case.array("scores"), strict=True
    ):
        ours = [same.measure(each, threshold, offset).stability for each in logits]
        assert np.array_equal(ours, wanted, equal_nan=True)


def test_grids():
    case = step("grids")
    for at, (side, layers, scale) in enumerate(case.facts["side_layers_scale"]):
        made = layer_grids(side, layers, scale)
        assert len(made) == layers + 1
        if at == 0:
            assert np.array_equal(made[0][:32], case.array("grid_0_0_row"))
            continue
        for layer, points in enumerate(made):
            assert np.array_equal(points, case.array(f"grid_{at}_{layer}"))


def test_crops():
    case = step("crops")
    for at, (height, width, layers, ratio) in enumerate(case.facts["height_width_layers_ratio"]):
        rows = [[*crop, layer] for crop, layer in crops_of(height, width, layers, ratio)]
        assert rows == case.array(f"crops_{at}").tolist()


def test_edges():
    case = step("edges")
    size = tuple(case.facts["picture"][2:])
    near = near_crop_edge(case.array("boxes"), tuple(case.facts["crop_box"]), size)
    assert np.array_equal(near, case.array("near"))


def test_second_points():
    case = step("second_points")
    for at, (height, width, side) in enumerate(case.facts["height_width_side"]):
        bits = np.unpackbits(case.array(f"covered_{at}"))[: height * width]
        covered = bits.reshape(height, width).astype(bool)
        coarse = point_grid(side // 4) * np.array([[width, height]])
        assert np.array_equal(coarse, case.array(f"first_{at}"))
        assert np.array_equal(second_points(covered, coarse, side), case.array(f"second_{at}"))


def test_filling_logits():
    case = step("fill")
    for area in case.facts["areas"]:
        filled = [fill_logits(each, area) for each in case.array("logits")]
        assert np.array_equal(filled, case.array(f"filled_{area}"))
