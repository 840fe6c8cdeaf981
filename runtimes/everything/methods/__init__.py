"""The ways to segment everything, one file each.

To add a way: a file here with

    METHOD = Method(find, options, defaults)

`find(run, image)` asks `run.predictor` and returns the segments in the published order; `options`
are the names in `Settings` that it takes. The file's name is the method's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.bundle.preprocess import Bytes
from runtimes.everything.asking import Run
from runtimes.everything.segments import Segment

ALIASES = {
    "sam": "grid", "sam2": "grid", "tinysam": "hierarchical", "mobilesam_v2": "object_aware",
    "boxes": "object_aware", "fastsam": "detector",
}  # fmt: skip
"""Names of the published generators."""

FILTERS = (
    "points_per_side",
    "points_per_batch",
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "box_nms_thresh",
    "crop_nms_thresh",
    "min_mask_region_area",
    "output_mode",
    "mask_threshold",
    "fast",
)
"""Options of every way that clicks."""


@dataclass(frozen=True)
class Method:
    """A way to segment everything.

    Attributes:
        find: does it.
        options: that it takes.
        defaults: where they are not SAM's.
    """

    find: Callable[[Run, Bytes], tuple[Segment, ...]]
    options: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
