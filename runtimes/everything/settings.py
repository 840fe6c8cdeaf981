"""The options of the published generators, under their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from exporter.closest import suggest
from exporter.errors import RequestError
from exporter.printable import quote
from runtimes.everything.predictor import Finder, Generator

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")
SAM2 = {"pred_iou_thresh": 0.8}
"""Defaults in which SAM 2's generator differs from SAM's."""


@dataclass(frozen=True)
class Settings:
    """How everything is asked for and what is kept; names and defaults as published.

    Attributes:
        points_per_side: of the whole picture's grid; None with `point_grids`.
        points_per_batch: prompts in one call of the predictor; changes nothing else.
        pred_iou_thresh: a mask stays if its predicted IoU is above this; 0 keeps all.
        stability_score_thresh: a mask stays if it is at least as stable; 0 keeps all.
        stability_score_offset: of the threshold, up and down, whose masks are compared.
        box_nms_thresh: above this IoU of their boxes, the mask of the lower predicted IoU goes.
        crop_n_layers: layers of crops, 2^i x 2^i each, that are asked as well.
        crop_nms_thresh: as `box_nms_thresh` between crops; the smaller crop's mask stays.
        crop_overlap_ratio: of the first layer's crops, of the shorter side.
        crop_n_points_downscale_factor: layer i has `points_per_side` over this to the power i.
        point_grids: points in 0..1 (n, 2) for the picture and each layer, instead of grids.
        min_mask_region_area: SAM: holes and islands of fewer pixels are removed from masks. SAM 2:
            those of at most so many of the network's pixels. No mask is removed for its size.
        output_mode: form of a record's `segmentation`.
        mask_threshold: of logits; None for the predictor's.
        multimask_output: three masks a point, or one.
        use_m2m: each mask is refined once more by its own logits before anything is dropped.
        high_score_thresh: hierarchical: logits above this cover a pixel.
        proposal_thresh: proposed: points are asked that score above this.
        max_proposals: proposed: so many at most, the best first.
        boxes: object-aware: (K, 4) x0, y0, x1, y1, in pixels.
        detector: object-aware: what finds the boxes instead.
        boxes_per_batch: object-aware: as `points_per_batch`.
        generator: `sam` or `sam2`: whose rules; None for the predictor's.
        components: SAM 2: whether small regions are removed, as with its CUDA extension. Without
            the extension its own code leaves them, with a warning.
        fast: stability and boxes are taken from logits as they are, not from the picture's size.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: float = 1
    point_grids: Sequence[npt.ArrayLike] | None = None
    min_mask_region_area: float = 0
    output_mode: str = "binary_mask"
    mask_threshold: float | None = None
    multimask_output: bool = True
    use_m2m: bool = False
    high_score_thresh: float = 8.5
    proposal_thresh: float = 0.1
    max_proposals: int = 64
    boxes: npt.ArrayLike | None = None
    detector: Finder | None = None
    boxes_per_batch: int = 320
    generator: Generator | None = None
    components: bool = True
    fast: bool = False

    def grid(self, layer: int) -> npt.NDArray[np.float64] | None:
        """Return the own points of a layer, or None. RequestError if it has none."""
        if self.point_grids is None:
            return None
        if layer >= len(self.point_grids):
            raise RequestError(f"point_grids has no points for the crops of layer {layer}")
        return points_in_shares(self.point_grids[layer])


def points_in_shares(given: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Check points (n, 2) in 0..1. RequestError if they are none."""
    try:
        points = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    good = points.ndim == 2 and points.shape[1] == 2 and len(points) > 0
    if not good or not ((points >= 0) & (points <= 1)).all():
        raise RequestError("point_grids holds points x, y in 0..1, n x 2 of them for each layer")
    return points


def settings_of(
    given: Mapping[str, Any], defaults: Mapping[str, Any], taken: Sequence[str], method: str
) -> Settings:
    """Make the settings of one method.

    Args:
        given: a caller's options.
        defaults: where they differ from SAM's.
        taken: the options that the method has.
        method: its name.

    Raises:
        RequestError: an option that it does not have, or a value that cannot be.
    """
    for name in given:
        if name not in taken:
            raise RequestError(f"unknown option of {method} {suggest(name, sorted(taken))}")
    made = replace(Settings(), **{**defaults, **given})
    for field in fields(made):
        _check(field.name, getattr(made, field.name))
    if made.output_mode not in OUTPUT_MODES:
        raise _wrong("output_mode", made.output_mode, f"one of {', '.join(OUTPUT_MODES)}")
    if made.generator is not None and made.generator not in get_args(Generator):
        raise _wrong("generator", made.generator, "sam or sam2")
    if (made.points_per_side is None) == (made.point_grids is None):
        raise RequestError("give points_per_side, or None with point_grids: one of the two")
    _check_layers(made)
    return made


def _check_layers(made: Settings) -> None:
    """RequestError if the crops of a layer would have no point."""
    downscale = made.crop_n_points_downscale_factor
    for layer in range(made.crop_n_layers + 1 if made.points_per_side is not None else 0):
        if made.points_per_side < downscale**layer:  # type: ignore[operator]
            raise RequestError(
                f"crop_n_points_downscale_factor {downscale:g} leaves no point for the crops of "
                f"layer {layer}: lower it, or raise points_per_side from {made.points_per_side}"
            )


_WHOLE = {
    "points_per_side": (1, 256),
    "points_per_batch": (1, 4096),
    "boxes_per_batch": (1, 4096),
    "crop_n_layers": (0, 4),
    "max_proposals": (1, 4096),
}
_NUMBERS = {
    "pred_iou_thresh": (-math.inf, math.inf),
    "stability_score_thresh": (-math.inf, math.inf),
    "stability_score_offset": (0.0, math.inf),
    "box_nms_thresh": (0.0, math.inf),
    "crop_nms_thresh": (0.0, math.inf),
    "crop_overlap_ratio": (0.0, 0.999),
    "crop_n_points_downscale_factor": (1.0, 256.0),
    "min_mask_region_area": (0.0, math.inf),
    "mask_threshold": (-math.inf, math.inf),
    "high_score_thresh": (-math.inf, math.inf),
    "proposal_thresh": (0.0, 1.0),
}


def _check(name: str, value: object) -> None:
    if value is None or name not in {**_WHOLE, **_NUMBERS}:
        return
    whole = name in _WHOLE
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    low, high = _WHOLE[name] if whole else _NUMBERS[name]
    word = "a whole number" if whole else "a number"
    bounds = [f"from {low:g}"] if low > -math.inf else []
    bounds += [f"to {high:g}"] if high < math.inf else []
    good = isinstance(value, kinds) and not isinstance(value, bool)
    if not good or not low <= value <= high:  # type: ignore[operator]
        raise _wrong(name, value, " ".join([word, *bounds]))


def _wrong(name: str, value: object, wanted: str) -> RequestError:
    return RequestError(f"{name} is {wanted}, not {quote(value)}")
