"""From boxes and prototypes to masks, and what `sam-run` makes of bundles of one graph."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.detections import detect, iou, snap_boxes, suppress, to_original
from exporter.bundle.folder import open_bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.pieces import Piece, at_points, in_box
from exporter.errors import BundleError, PromptError, RequestError
from runtimes.cli import main
from runtimes.measures import find_misses
from runtimes.parity import check_parity
from runtimes.segmenters import open_segmenter
from runtimes.segmenters.detections import DetectionSegmenter
from runtimes.segmenters.drawn import DrawnSegmenter
from runtimes.segmenters.slots import SlotSegmenter
from tests.unit.runtimes.segmenters import tiny_alone
from tests.unit.runtimes.segmenters.tiny_alone import RULE

RGB = np.random.default_rng(7).integers(0, 256, (60, 120, 3), np.uint8)
SIZE = (64, 64)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "detector"
    tiny_alone.build_detector(folder)
    return open_bundle(folder)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "drawn"
    tiny_alone.build_drawn(folder)
    return open_bundle(folder)


@pytest.fixture
def segmenter(detector):
    made = open_segmenter(detector)
    made.set_image(RGB)
    return made


def boxes(*rows):
    return np.array(rows, np.float32)


def piece(score, left, top, mask):
    mask = np.array(mask, bool)
    return Piece(score, left, top, mask, int(mask.sum()))


def test_iou():
    found = iou(
        boxes([0, 0, 4, 4])[0], boxes([0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4], [1, 1, 1, 1])
    )
    np.testing.assert_allclose(found, [1, 8 / 24, 0, 0])


def test_suppression_keeps_the_first_of_those_that_overlap_and_chains_no_further():
    # The second overlaps the first; the third the second only, which is gone.
    rows = boxes([0, 0, 10, 10], [0, 0, 10, 13], [0, 0, 10, 16], [50, 50, 60, 60])
    rule = replace(RULE, nms_iou=0.7)
    assert suppress(rows, rule).tolist() == [0, 2, 3]
    assert suppress(rows, replace(rule, max_detections=2)).tolist() == [0, 2]
    assert suppress(rows[:0], rule).tolist() == []
    # An IoU that is just the threshold does not suppress.
    assert suppress(boxes([0, 0, 10, 10], [0, 0, 10, 5]), replace(RULE, nms_iou=0.5)).tolist() == [
        0,
        1,
    ]


def test_only_scores_above_the_confidence_count_best_first():
    found = detect(tiny_alone.outputs(), RULE, SIZE)
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.5])
    np.testing.assert_allclose(found.coefficients, [[1, 0], [0, 1], [1, 1]])


def test_edges_near_the_border_go_onto_it_and_nearly_everything_is_everything():
    moved = snap_boxes(boxes([4.9, 5, 30, 60], [5, 4, 59, 59.1], [3, 3, 62, 55]), RULE, SIZE)
    np.testing.assert_allclose(moved[0], [0, 5, 30, 64])
    np.testing.assert_allclose(moved[1], [5, 0, 59, 64])
    # After snapping 64 x 55 of 64 x 64: 0.86; and with the last edge too, all of it.
    np.testing.assert_allclose(moved[2], [0, 0, 64, 55])
    np.testing.assert_allclose(snap_boxes(boxes([3, 3, 62, 58]), RULE, SIZE), [[0, 0, 64, 64]])


def test_boxes_leave_the_letterbox():
    # 120 x 60 is 64 x 32 of 64 x 64: 16 rows of padding above.
    mapped = to_original(boxes([10, 20, 30, 40], [0, 0, 64, 64]), SIZE, (120, 60))
    np.testing.assert_allclose(mapped, [[18.75, 7.5, 56.25, 45], [0, 0, 120, 60]], atol=1e-4)
    # An odd padding: 64 x 31 leaves 33 rows, and 16 of them are above.
    odd = to_original(boxes([0, 16, 64, 47]), SIZE, (128, 62))
    np.testing.assert_allclose(odd, [[0, 0, 128, 62]])


def test_everything(segmenter):
    masks = segmenter.predict()
    np.testing.assert_allclose(masks.iou_predictions, [0.9, 0.7, 0.5])
    first = np.zeros((60, 120), bool)
    first[8:45, 19:57] = True
    np.testing.assert_array_equal(masks.masks[0], first)
    assert masks.masks[1].sum() == ((np.arange(60) > 11) & (np.arange(60) < 42)).sum() * 30
    # The second prototype ends in the middle, where both coefficients cancel out to zero.
    assert masks.masks[2][:, :56].all()
    assert not masks.masks[2][:, 64:].any()


def test_a_point_takes_the_smallest_mask_around_it_away_or_adds_it(segmenter):
    added = segmenter.predict([[30, 30]], [1])
    assert added.masks.shape == (1, 60, 120)
    assert added.iou_predictions[0] == np.float32(0.9)
    everything = segmenter.predict().masks
    np.testing.assert_array_equal(added.masks[0], everything.any(axis=0))
    # The largest holds both points, and the last one decides; the smaller ones hold one.
    assert not segmenter.predict([[5, 5], [30, 30]], [1, 0]).masks.any()
    less = segmenter.predict([[30, 30], [5, 5]], [0, 1]).masks[0]
    np.testing.assert_array_equal(less, everything[2] & ~everything[0] & ~everything[1])
    nothing = segmenter.predict([[119, 59]], [1])
    assert not nothing.masks.any()
    assert nothing.iou_predictions[0] == 0


def test_a_box_takes_the_mask_that_fits_it_best(segmenter):
    everything = segmenter.predict().masks
    np.testing.assert_array_equal(segmenter.predict(box=[19, 8, 57, 45]).masks[0], everything[0])
    np.testing.assert_array_equal(segmenter.predict(box=[0, 0, 60, 60]).masks[0], everything[2])
    empty = segmenter.predict(box=[100, 0, 120, 60])
    assert not empty.masks.any()
    assert empty.iou_predictions[0] == 0


def test_points_paint_larger_masks_first():
    large = piece(0.5, 0, 0, np.ones((4, 4)))
    small = piece(0.9, 1, 1, np.ones((2, 2)))
    merged, score = at_points([small, large], [(1.9, 1.2), (0.0, 0.0)], [0, 1], (4, 4))
    assert merged.sum() == 12
    assert not merged[1:3, 1:3].any()
    assert score == 0.5
    # On the far edge a point lies in the last pixel.
    assert at_points([large], [(4.0, 4.0)], [1], (4, 4))[0].all()


def test_a_box_is_rounded_and_the_first_of_two_equal_ones_wins():
    one, twin = piece(0.9, 0, 0, np.ones((2, 2))), piece(0.8, 0, 0, np.ones((2, 2)))
    assert in_box([one, twin], (0.4, -3.0, 2.4, 2.0), (10, 10)) is one
    assert in_box([one], (2.0, 2.0, 5.0, 5.0), (10, 10)) is None
    assert in_box([], (2.0, 2.0, 5.0, 5.0), (10, 10)) is None


def test_what_it_cannot_do_is_refused(segmenter, detector):
    with pytest.raises(PromptError, match="points or a box, not both"):
        segmenter.predict([[1, 1]], [1], [0, 0, 5, 5])
    with pytest.raises(PromptError, match="outside the image"):
        segmenter.predict([[1, 65]], [1])
    with pytest.raises(PromptError, match="multimask"):
        segmenter.predict([[1, 1]], [1], multimask=True)
    with pytest.raises(PromptError, match="refine"):
        segmenter.predict([[1, 1]], [1], mask_input=np.zeros((4, 4), np.float32))
    with pytest.raises(RequestError, match="set_image"):
        DetectionSegmenter(detector).predict()


def test_a_bundle_of_another_kind_is_refused(detector, drawn, tiny):
    with pytest.raises(BundleError, match="takes prompts"):
        DetectionSegmenter(tiny)
    with pytest.raises(BundleError, match="drawn prompts"):
        DrawnSegmenter(detector)
    with pytest.raises(BundleError, match="takes no prompts"):
        SlotSegmenter(drawn)
    assert isinstance(open_segmenter(drawn), DrawnSegmenter)
    assert isinstance(open_segmenter(tiny), SlotSegmenter)


def test_manifests_come_back(detector, drawn):
    for bundle in (detector, drawn):
        assert Manifest.from_json(bundle.manifest.to_json()) == bundle.manifest
        assert bundle.manifest.prompts is None


def test_parity_of_one_graph(detector, drawn):
    figures = check_parity(detector.path, detector.manifest)
    assert not find_misses(figures)
    own = {f.output for f in figures if f.graph == "segmenter"}
    assert own == {"boxes", "scores", "coefficients", "prototypes"}
    ends = {f.output for f in figures if f.graph == "end_to_end"}
    assert ends >= {"image", "replayed_masks", "replayed_scores"}
    figures = check_parity(drawn.path, drawn.manifest)
    assert not find_misses(figures)
    assert {f.measure for f in figures if f.output == "low_res_masks"} == {
        "psnr_db",
        "worst_error",
        "mask_iou",
        "prompt_sensitivity",
    }


def test_drawn_prompts_reach_the_graph(drawn):
    segmenter = open_segmenter(drawn)
    segmenter.set_image(RGB)
    best = segmenter.predict([[60, 30]], [1])
    assert best.iou_predictions.tolist() == [np.float32(0.9)]
    three = segmenter.predict(box=[30, 15, 90, 45], multimask=True)
    assert three.masks.shape == (3, 60, 120)
    # The first of them is the box: a stretched half of the input is a half of the image.
    assert three.masks[0][16:44, 32:88].all()
    assert three.masks[0].sum() < 1.1 * 32 * 64
    with pytest.raises(PromptError, match="no background points"):
        segmenter.predict([[1, 1]], [0])
    with pytest.raises(PromptError, match="refine"):
        segmenter.predict([[1, 1]], [1], mask_input=np.zeros((32, 32), np.float32))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RGB).save("dog.png")

    def call(bundle, *arguments):
        status = main([str(bundle.path), *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_sam_run_without_a_prompt_shows_every_mask(run, detector, tmp_path):
    status, out, err = run(detector, "dog.png")
    assert (status, err) == (0, "")
    assert out.startswith("mask 0: score 0.900, 1406 pixels\nmask 1: score 0.700, ")
    picture = np.asarray(Image.open(tmp_path / "dog.overlay.png"), np.int16)
    changed = np.abs(picture - RGB).sum(axis=2) > 0
    assert changed[:, :50].mean() > 0.9
    assert not changed[:, 70:].any()
    # The small mask lies on the large one in another colour.
    shift = picture - RGB
    assert (
        np.abs(
            np.median(shift[20:40, 25:50], axis=(0, 1)) - np.median(shift[:, 2:16], axis=(0, 1))
        ).max()
        > 20
    )


def test_sam_run_with_prompts(run, detector, drawn):
    status, out, _ = run(detector, "dog.png", "--point", "30,30", "--json")
    assert status == 0
    (mask,) = json.loads(out)["masks"]
    assert mask["score"] == pytest.approx(0.9)
    status, out, _ = run(drawn, "dog.png", "--box", "30,15,90,45", "--multimask", "--json")
    assert status == 0
    assert [m["iou_prediction"] for m in json.loads(out)["masks"]] == pytest.approx([0.6, 0.9, 0.7])


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("detector", ["--multimask"], "one mask an object"),
        ("detector", ["--mask-input", "x.npy"], "cannot refine"),
        ("detector", ["--save-logits", "x.npy"], "no logits"),
        ("detector", ["--point", "1,1", "--box", "0,0,9,9"], "not both"),
        ("drawn", ["--point", "1,1,0"], "no background points"),
        ("drawn", ["--mask-input", "x.npy", "--point", "1,1"], "cannot refine"),
        ("drawn", [], "no prompt: give a point or a box"),
    ],
)
def test_sam_run_refuses_what_the_bundle_cannot_do(run, request, kind, arguments, message):
    status, out, err = run(request.getfixturevalue(kind), "dog.png", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_sam_run_checks_them(run, detector, drawn):
    for bundle in (detector, drawn):
        status, out, _ = run(bundle, "--check")
        assert status == 0
        assert "segmenter" in out
