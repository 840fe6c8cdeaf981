"""One box an object, from a detector or a caller: no grid, and nothing to suppress.

Source: ChaoningZhang/MobileSAM 34bbbfd, `MobileSAMv2/Inference.py`: no filter at all, one mask a
box, the largest first.
"""

from __future__ import annotations

import numpy as np

from exporter.bundle.preprocess import Bytes, Floats
from exporter.errors import RequestError
from runtimes.everything.asking import Run
from runtimes.everything.methods import Method
from runtimes.everything.predictor import upscaler_of
from runtimes.everything.segments import Segment
from runtimes.everything.steps.boxes import suppress
from runtimes.everything.steps.interpolation import Upscaler
from runtimes.everything.steps.runs import area_of, runs_of

_SAME = 0.9
"""IoU above which two boxes of a detector are one object's; MobileSAMv2's."""


def find(run: Run, image: Bytes) -> tuple[Segment, ...]:
    """See `Method`."""
    options = run.settings
    if (options.boxes is None) == (options.detector is None):
        raise RequestError(
            "object_aware takes boxes, or a detector that finds them: one of the two"
        )
    boxes = _given(options.boxes) if options.detector is None else _found(run, image)
    run.left.candidates = run.planned = len(boxes)
    found: list[Segment] = []
    if len(boxes):
        with run.until_stopped():
            run.set_image(image)
            _ask(run, boxes, found)
    return tuple(sorted(found, key=lambda segment: -segment.area))


def _given(boxes: object) -> Floats:
    """Check a caller's boxes (K, 4). RequestError if they are none."""
    try:
        array = np.asarray(boxes, np.float32)
    except (TypeError, ValueError):
        array = np.zeros(1, np.float32)
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
        raise RequestError("boxes are n x 4 numbers: x0, y0, x1, y1 in pixels of the picture")
    return array


def _found(run: Run, image: Bytes) -> Floats:
    """Let the detector find boxes; those of one object become one."""
    finder = run.settings.detector
    if finder is None:
        return np.zeros((0, 4), np.float32)
    with run.stage("detect"):
        finder.set_image(image)
        pieces, boxes = finder.detections()
        scores = np.array([piece.score for piece in pieces], np.float32)
        boxes = boxes.reshape(-1, 4)
        return boxes[suppress(boxes, scores, _SAME)]


def _ask(run: Run, boxes: Floats, found: list[Segment]) -> None:
    """Ask for the masks of boxes, a batch a call, and add each as a segment."""
    upscaler: Upscaler | None = None
    batch = run.settings.boxes_per_batch
    for first in range(0, len(boxes), batch):
        part = boxes[first : first + batch]
        with run.stage("decode"):
            logits, ious = run.predictor.boxes(part)
        run.count(len(part))
        if upscaler is None:
            shape = (logits.shape[-2], logits.shape[-1])
            upscaler = upscaler_of(run.predictor, shape, run.size)
        for mask, iou in zip(logits[:, 0], ious[:, 0], strict=True):
            with run.stage("measure"):
                if run.faults.rated(iou) and run.faults.usable(mask):
                    found.append(_segment(run, upscaler, mask, iou))
        run.tell()


def _segment(run: Run, upscaler: Upscaler, logits: Floats, iou: np.float32) -> Segment:
    height, width = run.size
    measured = upscaler.measure(logits, run.threshold, run.settings.stability_score_offset)
    x0, y0, x1, y1 = measured.box
    part = upscaler.mask(logits, run.threshold, measured.box)
    runs = runs_of(part, (x0, y0), run.size)
    return Segment(
        runs,
        run.size,
        area_of(runs),
        (x0, y0, x1 - x0, y1 - y0),
        float(iou),
        float(measured.stability),
        None,
        (0, 0, width, height),
    )


METHOD = Method(
    find,
    (
        "boxes",
        "detector",
        "boxes_per_batch",
        "output_mode",
        "mask_threshold",
        "stability_score_offset",
    ),
)
