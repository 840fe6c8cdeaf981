"""The cases of everything, read as other twins read them: a predictor that knows its script."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.preprocess import fit, upscaling
from exporter.bundle.rules import Preprocess
from runtimes.everything import everything
from runtimes.everything.steps.interpolation import Upscaler
from runtimes.golden_vectors.everything import _Finder, _Stopper
from runtimes.golden_vectors.regions import picture
from tests.unit.runtimes.golden_vectors.test_golden_vectors import Case, cases


class Script:
    """Answers as recorded, and only what was recorded, in order."""

    def __init__(self, case: Case) -> None:
        self.case, self.answers = case, case.data["answers"]
        self.grids = [case.array(where) for where in self.answers["grids"]]
        self.crops: list[list[int]] = []
        self.at = 0

    def set_image(self, image) -> None:
        left, top = image[0, 0, :2].tolist()
        self.crops.append([left, top, left + image.shape[1], top + image.shape[0]])

    def upscaler(self, shape, size) -> Upscaler:
        how = self.case.data["upscale"]
        frame = fit(size[1], size[0], self.case.rule("preprocess", Preprocess))
        squashed = how == "sigmoid_bilinear_once"
        return Upscaler(*upscaling(shape, frame, how), squashed=squashed)

    def proposals(self):
        proposed = self.case.data["proposed"]
        scores = np.array([score for _, score in proposed], np.float32)
        return np.array([point for point, _ in proposed], np.float64), scores

    def points(self, points, multimask=True, mask_input=None):
        return self._answer(points, mask_input, multimask=multimask)

    def boxes(self, boxes):
        return self._answer(boxes, None, multimask=False)

    def _answer(self, prompts, mask_input, *, multimask):
        call = self.answers["calls"][self.at]
        self.at += 1
        assert (call["image"], call["multimask"]) == (len(self.crops) - 1, multimask)
        assert np.asarray(prompts, np.float64).tolist() == call["prompts"]
        if call["earlier"] is None:
            assert mask_input is None
        else:
            np.testing.assert_array_equal(mask_input, [self.grids[n] for n in call["earlier"]])
        numbers = self.case.array(call["grids"])
        logits = np.array([[self.grids[n] for n in row] for row in numbers], np.float32)
        return logits, self.case.array(call["ious"])


@pytest.mark.parametrize("case", cases("everything"))
def test_everything(case: Case) -> None:
    script, data = Script(case), case.data
    options = dict(data["options"])
    if data["found"]:
        options["detector"] = _Finder(data["found"])
    stop = data["stop_after"]
    report, keep = _Stopper(stop), stop is not None
    found = everything(
        script, picture(*data["size"]), data["method"], report=report, keep_partial=keep, **options
    )
    expected = data["expected"]
    assert script.crops == script.answers["crops"]
    assert script.at == len(script.answers["calls"])
    assert (found.partial, list(found.notes)) == (expected["partial"], expected["notes"])
    assert vars(found.asked) == expected["asked"]
    left = vars(found.left) | {"nms": [list(pair) for pair in found.left.nms]}
    assert left == expected["left"]
    for segment, wanted in zip(found, expected["segments"], strict=True):
        assert segment.coco["counts"] == wanted["coco"]
        assert (segment.area, list(segment.bbox)) == (wanted["area"], wanted["bbox"])
        assert segment.predicted_iou == wanted["predicted_iou"]
        assert segment.stability_score == wanted["stability_score"]
        assert segment.point_coords == (wanted["point_coords"] and tuple(wanted["point_coords"]))
        assert list(segment.crop_box) == wanted["crop_box"]
    if "labels" in expected:
        np.testing.assert_array_equal(found.labels(), case.array(expected["labels"]))


def test_every_filter_drops_some_mask_of_some_case() -> None:
    left = [param.values[0].data["expected"]["left"] for param in cases("everything")]
    for before, after in (
        ("candidates", "after_iou"),
        ("after_iou", "after_stability"),
        ("after_stability", "after_edges"),
    ):
        assert any(counts[before] > counts[after] > 0 for counts in left)
    assert any(n > m > 0 for counts in left for n, m in counts["nms"][1:])


def test_every_method_that_asks_is_stopped_in_some_case() -> None:
    stopped = [param.values[0].data for param in cases("everything")]
    partial = {data["method"] for data in stopped if data["expected"]["partial"]}
    assert partial == {"grid", "hierarchical", "object_aware", "proposed"}
