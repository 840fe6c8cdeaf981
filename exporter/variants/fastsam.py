"""FastSAM (Zhao et al. 2023, arXiv 2306.12156): YOLOv8-seg finds everything, prompts choose.

One graph that takes no prompt, `segmenter`; see `DetectionRule` for the host's part. The published
file holds a whole pickled module, in half precision; its tensors are read, and nothing in it is
run. The letterbox is square, as in the published exports; the published predictor pads to a
multiple of 32 only.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.bundle.licence import Licence
from exporter.bundle.rules import DetectionRule, MaskRule, Preprocess
from exporter.variants import Detections, Layout, Published, Sizes, Variant

if TYPE_CHECKING:
    from torch import nn

AGPL = Licence("AGPL-3.0", "https://www.gnu.org/licenses/agpl-3.0.txt", commercial_use=True)
"""Commercial use is allowed, but whoever distributes the app owes its users the app's source."""

GREY = (114.0, 114.0, 114.0)
SIZE = 1024
PROTOTYPES = SIZE // 4
BINS = "model.22.dfl.conv.weight"
"""The numbers 0 to 15, a constant of our graph."""

PREPROCESS = Preprocess(
    resize="letterbox",
    size=SIZE,
    interpolation="opencv_bilinear",
    pad_value=GREY,
    mean=(0.0, 0.0, 0.0),
    std=(255.0, 255.0, 255.0),
)
MASK = MaskRule(
    threshold=0.0, single=-1, multi=(), upscale="letterbox_bilinear", low_res_size=PROTOTYPES
)
RULE = DetectionRule(
    confidence=0.4,
    nms_iou=0.9,
    max_detections=300,
    border=20.0,
    full_box_iou=0.9,
    strides=(8, 16, 32),
    prototypes=32,
)


def rename(name: str) -> str | None:
    """Keep the published names; None for the constant, which has none here."""
    return None if name == BINS else name


@dataclass(frozen=True)
class _Row:
    name: str
    parameters: int
    file: str


def _build(name: str, image_size: int = SIZE) -> nn.Module:
    from exporter.models.yolov8_seg import EXTRA_LARGE, YoloSize, Yolov8Seg

    size = EXTRA_LARGE if name == "fastsam_x" else YoloSize()
    return Yolov8Seg(size, (image_size, image_size)).eval()


def _variant(row: _Row) -> Variant:
    build = functools.partial(_build, row.name)
    return Variant(
        name=row.name,
        family="fastsam",
        summary=f"FastSAM: YOLOv8{row.name[-1]}-seg finds everything, prompts choose",
        parameters=row.parameters,
        preprocess=PREPROCESS,
        mask=MASK,
        prompting=Detections(RULE),
        licence=AGPL,
        repository="https://github.com/CASIA-IVA-Lab/FastSAM",
        paper="arXiv:2306.12156",
        # The authors' own files are on a drive that asks for confirmation before large downloads;
        # these are copies by the maker of YOLOv8.
        published=Published(
            row.file, f"https://github.com/ultralytics/assets/releases/download/v8.3.0/{row.file}"
        ),
        layouts=(Layout("ultralytics", rename, build, marks=(BINS,)),),
        sizes=Sizes(step=RULE.strides[-1]),
    )


VARIANTS = tuple(
    _variant(row)
    for row in (
        _Row("fastsam_s", 11_790_467, "FastSAM-s.pt"),
        _Row("fastsam_x", 71_751_795, "FastSAM-x.pt"),
    )
)
