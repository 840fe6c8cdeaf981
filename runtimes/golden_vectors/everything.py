"""Everything in a picture: what is asked, what each filter leaves, and the masks; and its steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from exporter.bundle.pieces import Piece
from exporter.bundle.preprocess import Bytes, Floats, fit
from exporter.bundle.rules import Preprocess, Upscale
from runtimes.everything import everything as find_everything
from runtimes.everything.asking import Progress
from runtimes.everything.methods.hierarchical import second_points
from runtimes.everything.segments import Everything, Segment
from runtimes.everything.steps.boxes import near_crop_edge, suppress
from runtimes.everything.steps.grids import crops_of, point_grid
from runtimes.everything.steps.peaks import peaks_in_picture
from runtimes.everything.steps.regions import fill_logits, without_small
from runtimes.everything.steps.runs import coco_text, mask_of, runs_of
from runtimes.golden_vectors.pixels import LONGEST, STRETCH
from runtimes.golden_vectors.regions import REGIONS, Proposed, Region, Standing, box, picture
from runtimes.golden_vectors.store import Topic

SIZE = (128, 96)
PAD, SQUASH = replace(LONGEST, size=80), replace(STRETCH, size=80)
COVERED = 8.5
_BOXES = ((12.0, 10.0, 54.0, 56.0), (60.0, 14.5, 124.0, 78.0), (80.25, 20.0, 107.0, 40.0),
          (100.0, 70.0, 120.0, 90.0))  # fmt: skip
_EMPTY = (Region(box(64, 48, 400, 400), 1, 0.1),)


@dataclass(frozen=True)
class Asked:
    """A case: what is asked, of which stand-in.

    Attributes:
        method: of `everything`.
        options: of it.
        preprocess: how a picture lies in the network's input.
        how: logits are upscaled.
        size: width and height of the picture.
        regions: that the stand-in knows.
        found: boxes and scores that a detector finds.
        proposed: points that a head proposes, with their scores.
        stop_after: reports of progress, whereupon the caller ends it and keeps what was found.
    """

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    preprocess: Preprocess = PAD
    how: Upscale = "bilinear"
    size: tuple[int, int] = SIZE
    regions: tuple[Region, ...] = REGIONS
    found: tuple[tuple[tuple[float, ...], float], ...] = ()
    proposed: Proposed = ()
    stop_after: int | None = None


def _sam2(**options: Any) -> Asked:
    return Asked("grid", {"generator": "sam2", **options}, SQUASH, "bilinear_once")


_PROPOSED = (
    ((30.5, 28.25), 0.875), ((97.0, 27.5), 0.75), ((64.25, 58.0), 0.5), ((110.0, 80.75), 0.25),
    ((30.0, 74.0), 0.125), ((34.0, 60.0), 0.0625),
)  # fmt: skip
_UNRATED = (*REGIONS[:4], replace(REGIONS[4], quality=math.nan), *REGIONS[5:])
_NO_NUMBERS = (
    replace(REGIONS[0], slope=math.nan), replace(REGIONS[1], quality=math.inf), *REGIONS[2:4],
    replace(REGIONS[4], quality=math.nan), replace(REGIONS[5], slope=math.nan), *REGIONS[6:],
)  # fmt: skip
_LOOSE = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
CASES: dict[str, Asked] = {
    "grid": Asked("grid", {"points_per_side": 8}),
    "grid, a batch": Asked("grid", {"points_per_side": 5, "points_per_batch": 7}),
    "grid, nothing is filtered": Asked("grid", {"points_per_side": 3, **_LOOSE}),
    "grid, one mask a point": Asked("grid", {"points_per_side": 6, "multimask_output": False}),
    "grid, own points": Asked(
        "grid", {"points_per_side": None, "point_grids": [[[0.25, 0.3], [0.7, 0.5], [0.86, 0.84]]]}
    ),
    "grid, crops": Asked(
        "grid", {"points_per_side": 4, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2}
    ),
    "grid, little overlap": Asked(
        "grid", {"points_per_side": 3, "crop_n_layers": 1, "crop_overlap_ratio": 0.1,
                 "crop_nms_thresh": 0.4}
    ),
    "grid, small regions": Asked("grid", {"points_per_side": 6, "min_mask_region_area": 170}),
    "grid, everything is small": Asked("grid", {"points_per_side": 5, "min_mask_region_area": 9e3}),
    "grid, boxes overlap less": Asked("grid", {"points_per_side": 8, "box_nms_thresh": 0.2}),
    "grid, stability": Asked(
        "grid", {"points_per_side": 6, "stability_score_thresh": 0.8, "stability_score_offset": 2.0}
    ),
    "grid, nothing found": Asked(
        "grid", {"points_per_side": 3, "crop_n_layers": 1}, regions=_EMPTY
    ),
    "grid, cubic": Asked("grid", {"points_per_side": 4}, SQUASH, "bicubic_once"),
    "grid, squashed": Asked(
        "grid", {"points_per_side": 4, "stability_score_thresh": 0.8}, SQUASH,
        "sigmoid_bilinear_once",
    ),
    "grid, one pixel": Asked(
        "grid", {"points_per_side": 2, "crop_n_layers": 1, **_LOOSE}, size=(1, 1)
    ),
    "sam2": _sam2(points_per_side=6),
    "sam2, refined": _sam2(points_per_side=4, use_m2m=True, points_per_batch=9),
    "sam2, one refined": _sam2(points_per_side=4, use_m2m=True, multimask_output=False),
    "sam2, crops": _sam2(points_per_side=3, crop_n_layers=1),
    "sam2, another threshold": _sam2(points_per_side=5, mask_threshold=1.5),
    "sam2, small regions": _sam2(points_per_side=5, min_mask_region_area=6),
    "sam2, small regions left": _sam2(points_per_side=5, min_mask_region_area=6, components=False),
    "hierarchical": Asked("hierarchical", {"points_per_side": 8}),
    "hierarchical, finer": Asked("hierarchical", {"points_per_side": 9, "high_score_thresh": 20.0}),
    "hierarchical, all covered": Asked(
        "hierarchical", {"points_per_side": 8, "high_score_thresh": -100.0}
    ),
    "hierarchical, small regions": Asked(
        "hierarchical", {"points_per_side": 8, "min_mask_region_area": 170}
    ),
    "object_aware": Asked("object_aware", {"boxes": _BOXES, "boxes_per_batch": 3}),
    "object_aware, no boxes": Asked("object_aware", {"boxes": ()}),
    "object_aware, of a detector": Asked(
        "object_aware",
        found=((_BOXES[0], 0.5), (_BOXES[1], 0.75), ((60.0, 14.0, 124.0, 79.0), 0.875),
               (_BOXES[3], 0.75)),
    ),
    "grid, ratings that are no numbers": Asked("grid", {"points_per_side": 5}, regions=_UNRATED),
    "grid, answers that are no numbers": Asked(
        "grid", {"points_per_side": 6, **_LOOSE}, regions=_NO_NUMBERS
    ),
    "object_aware, answers that are no numbers": Asked(
        "object_aware", {"boxes": _BOXES}, regions=_NO_NUMBERS
    ),
    "grid, fast": Asked("grid", {"points_per_side": 5, "fast": True}),
    "grid, fast crops": Asked(
        "grid", {"points_per_side": 3, "crop_n_layers": 1, "fast": True, **_LOOSE}, SQUASH,
        "bicubic_once",
    ),
    "grid, fast and squashed": Asked(
        "grid", {"points_per_side": 4, "stability_score_thresh": 0.8, "fast": True}, SQUASH,
        "sigmoid_bilinear_once",
    ),
    "sam2, fast": _sam2(points_per_side=5, min_mask_region_area=6, fast=True),
    "hierarchical, fast": Asked(
        "hierarchical", {"points_per_side": 9, "high_score_thresh": 20.0, "fast": True}
    ),
    "proposed": Asked("proposed", proposed=_PROPOSED),
    "proposed, the best": Asked(
        "proposed", {"max_proposals": 3, "proposal_thresh": 0.0, "points_per_batch": 2},
        proposed=_PROPOSED,
    ),
    "proposed, fast": Asked(
        "proposed", {"proposal_thresh": 0.125, "fast": True}, proposed=_PROPOSED
    ),
    "proposed, sam2": replace(
        _sam2(use_m2m=True, proposal_thresh=0.3), method="proposed", proposed=_PROPOSED
    ),
    "proposed, none": Asked("proposed", {"proposal_thresh": 0.9}, proposed=_PROPOSED),
    "proposed, stopped": Asked(
        "proposed", {"points_per_batch": 1}, proposed=_PROPOSED, stop_after=3
    ),
    "grid, stopped": Asked(
        "grid", {"points_per_side": 6, "points_per_batch": 8, "min_mask_region_area": 170},
        stop_after=3,
    ),
    "grid, stopped in a crop": Asked(
        "grid", {"points_per_side": 4, "points_per_batch": 6, "crop_n_layers": 1}, stop_after=5
    ),
    "hierarchical, stopped at first": Asked(
        "hierarchical", {"points_per_side": 8, "points_per_batch": 3}, stop_after=1
    ),
    "hierarchical, stopped": Asked(
        "hierarchical", {"points_per_side": 9, "points_per_batch": 3, "high_score_thresh": 20.0},
        stop_after=4,
    ),
    "object_aware, stopped": Asked(
        "object_aware", {"boxes": _BOXES, "boxes_per_batch": 1}, stop_after=2
    ),
}  # fmt: skip


FLAT = ("grid", "hierarchical", "object_aware")
"""Cases that also say which mask lies on top of each pixel."""


class _Finder:
    """Finds what a case says."""

    def __init__(self, found: tuple[tuple[tuple[float, ...], float], ...]) -> None:
        self._found = found

    def set_image(self, image: Bytes, /) -> None:
        """Look at nothing."""

    def detections(self) -> tuple[list[Piece], Floats]:
        """See `runtimes.everything.predictor.Finder`."""
        pieces = [Piece(score, 0, 0, np.ones((1, 1), np.bool_), 1) for _, score in self._found]
        return pieces, np.array([corners for corners, _ in self._found], np.float32)


class _Stopper:
    """Does as Ctrl-C after so many reports of progress."""

    def __init__(self, after: int | None) -> None:
        self._left = after

    def __call__(self, progress: Progress) -> None:
        """See `runtimes.everything.asking.Report`."""
        if self._left is None:
            return
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


def everything() -> Topic:
    """Every method, over a stand-in whose answers are recorded."""
    topic = Topic("everything")
    for name, asked in CASES.items():
        options = dict(asked.options)
        if asked.found:
            options["detector"] = _Finder(asked.found)
        standing = _standing(asked)
        found = find_everything(
            standing,
            picture(*asked.size),
            asked.method,
            report=_Stopper(asked.stop_after),
            keep_partial=asked.stop_after is not None,
            **options,
        )
        topic.add(
            name,
            method=asked.method,
            options=asked.options,
            size=asked.size,
            preprocess=asdict(asked.preprocess),
            upscale=asked.how,
            found=asked.found,
            proposed=asked.proposed,
            stop_after=asked.stop_after,
            answers=standing.recorded(),
            expected=_described(found) | (_flat(found) if name in FLAT else {}),
        )
    return topic


def _standing(asked: Asked) -> Standing:
    options = asked.options
    threshold = options.get("mask_threshold", 0.0)
    offset = options.get("stability_score_offset", 1.0)
    edges = [threshold - offset, threshold, threshold + offset]
    if asked.method == "hierarchical":
        edges.append(options.get("high_score_thresh", COVERED))
    area = options.get("min_mask_region_area", 0)
    changes: tuple[Callable[[Floats], Floats], ...] = ()
    if options.get("generator") == "sam2" and area:
        changes = (partial(fill_logits, most=area),)
    return Standing(asked.preprocess, asked.how, edges, changes, asked.regions, asked.proposed)


def _described(found: Everything) -> dict[str, Any]:
    return {
        "partial": found.partial,
        "notes": found.notes,
        "asked": vars(found.asked),
        "left": vars(found.left),
        "segments": [_segment(segment) for segment in found],
    }


def _flat(found: Everything) -> dict[str, Any]:
    return {"labels": found.labels().astype(np.uint8)}


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "coco": segment.coco["counts"],
        "area": segment.area,
        "bbox": segment.bbox,
        "predicted_iou": segment.predicted_iou,
        "stability_score": segment.stability_score,
        "point_coords": segment.point_coords,
        "crop_box": segment.crop_box,
    }


def everything_steps() -> Topic:
    """Single steps on random data, where whole pictures do not show every mistake."""
    topic = Topic("everything_steps")
    _add_regions(topic)
    _add_places(topic)
    _add_boxes(topic)
    _add_peaks(topic)
    return topic


def _add_regions(topic: Topic) -> None:
    rng = np.random.default_rng(31)
    masks = [rng.random((23, 19)) < share for share in (0.1, 0.35, 0.5, 0.65, 0.9)]
    masks += [np.zeros((4, 5), np.bool_), np.ones((4, 5), np.bool_), np.ones((1, 1), np.bool_)]
    for at, mask in enumerate(masks):
        size = (mask.shape[0], mask.shape[1])
        runs = runs_of(mask, (0, 0), size)
        for area in (2, 5, 1000):
            cleaned, changed = without_small(runs, size, area)
            topic.add(f"small regions, mask {at}, area {area}", kind="small_regions", mask=mask,
                      area=area, runs=runs.tolist(), coco=coco_text(runs),
                      cleaned=mask_of(cleaned, size), changed=changed)  # fmt: skip
    for most in (1, 4, 30):
        logits = (rng.integers(-40, 41, (12, 12)) / 4).astype(np.float32)
        topic.add(f"fill, {most} pixels", kind="fill", logits=logits, most=most,
                  filled=fill_logits(logits, most))  # fmt: skip


def _add_places(topic: Topic) -> None:
    for side in (1, 2, 3, 12):
        topic.add(f"{side} points a side", kind="grid", side=side,
                  points=point_grid(side).tolist())  # fmt: skip
    for width, height, layers, overlap in (
        (128, 96, 2, 512 / 1500),
        (101, 37, 1, 0.5),
        (3, 2, 2, 0.1),
    ):
        crops = [[*crop, layer] for crop, layer in crops_of(height, width, layers, overlap)]
        topic.add(f"crops of {width}x{height}", kind="crops", size=[width, height], layers=layers,
                  overlap=overlap, crops=crops)  # fmt: skip
    rng = np.random.default_rng(32)
    for side, (width, height) in ((8, (61, 47)), (17, (128, 96)), (32, (33, 40))):
        sure = rng.random((height, width)) < 0.4
        coarse = point_grid(side // 4) * np.array([[width, height]])
        topic.add(f"second points, {side} a side", kind="second_points", covered=sure, side=side,
                  points=second_points(sure, coarse, side).tolist())  # fmt: skip


def _add_boxes(topic: Topic) -> None:
    rng = np.random.default_rng(33)
    for most in (0.3, 0.7, 1.0):
        corners = rng.integers(0, 24, (40, 2, 2)).astype(np.float32)
        corners.sort(axis=1)
        boxes = corners.reshape(-1, 4)
        scores = (rng.integers(0, 6, 40) / 8).astype(np.float32)  # many are equal
        topic.add(f"suppression above {most}", kind="suppress", boxes=boxes, scores=scores,
                  most=most, kept=suppress(boxes, scores, most).tolist())  # fmt: skip
    crop, size = (40, 0, 128, 60), (128, 96)
    near = np.array(
        [(0, 0, 9, 9), (20, 0, 50, 40), (21, 0, 50, 39), (30, 30, 87, 39), (25, 5, 60, 40),
         (25, 5, 60, 39), (25, 5, 87, 39)], np.int64
    )  # fmt: skip
    topic.add("near a crop's edge", kind="edges", boxes=near.tolist(), crop=crop, size=size,
              near=near_crop_edge(near, crop, size))  # fmt: skip
    for above, within, least in ((19, 20, 0.95), (949, 1000, 0.95), (0, 0, 0.95)):
        stays = np.float32(above) / np.float32(max(within, 1)) >= np.float32(least) and within > 0
        topic.add(f"stability {above} of {within}", kind="stability", above=above, within=within,
                  least=least, stays=bool(stays))  # fmt: skip


def _add_peaks(topic: Topic) -> None:
    rng = np.random.default_rng(34)
    for rule in (LONGEST, STRETCH, replace(LONGEST, resize="letterbox")):
        for width, height in ((128, 96), (37, 101)):
            scores = (rng.integers(0, 65, (12, 12)) / 64).astype(np.float32)  # many are equal
            scores[3, 4], scores[7, 1], scores[0, 0] = np.nan, np.inf, -np.inf
            points, rated = peaks_in_picture(scores, fit(width, height, rule))
            topic.add(f"peaks, {rule.resize}, {width}x{height}", kind="peaks", scores=scores,
                      size=[width, height], preprocess=asdict(rule),
                      points=points.tolist(), rated=rated)  # fmt: skip
