"""One side of `profiles.lab.everything.speed`, in a process of its own: JSON in, JSON out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from exporter import child
from exporter.bundle.folder import Bundle, read_manifest
from profiles.everything import PICTURE
from runtimes.everything import everything
from runtimes.pictures.reading import read_picture
from runtimes.process import peak_bytes
from runtimes.segmenters import open_segmenter

VARIANT = "mobile_sam"
BOXES = (8, 4)
"""Given to object-aware: so many across and down, each twice as wide and high as its cell."""


def ours(job: dict[str, Any]) -> dict[str, Any]:
    """Time a way on a bundle."""
    folder = Path(job["bundle"])
    segmenter = open_segmenter(Bundle(folder, read_manifest(folder)), threads=1)
    rgb = read_picture(PICTURE).rgb
    options = _options(job, rgb.shape[:2])
    everything(segmenter, rgb, "object_aware", boxes=[(0, 0, 64, 64)])  # the engine's first run
    start = time.process_time()
    found = everything(segmenter, rgb, job["method"], **options)
    spent = time.process_time() - start
    masks = [(each.predicted_iou, each.runs.tolist()) for each in found]
    return _answer(spent, found.asked.prompts, masks, job)


def _options(job: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    passing = job["passing"]
    if job["method"] == "object_aware":
        return {"boxes": _boxes(size)}
    options = {
        "points_per_side": job["points"],
        "pred_iou_thresh": passing["iou"],
        "stability_score_thresh": passing["stability"],
        "box_nms_thresh": job["nms"],
    }
    if job["method"] == "hierarchical":
        options["high_score_thresh"] = passing["high"]
    return options


def _boxes(size: tuple[int, ...]) -> list[tuple[float, ...]]:
    """Boxes all over a picture (height, width), each twice as wide and high as its cell."""
    across, down = BOXES
    wide, high = size[1] / across, size[0] / down
    corners = ((x * wide, y * high) for y in range(down) for x in range(across))
    return [
        (max(x - wide / 2, 0), max(y - high / 2, 0), x + 1.5 * wide, y + 1.5 * high)
        for x, y in corners
    ]


def published(job: dict[str, Any]) -> dict[str, Any]:
    """Time the published generator in torch."""
    import torch

    from exporter.variants import load_variant
    from profiles.lab.everything.published import PublishedGenerator, Thresholds
    from profiles.lab.matrix.fill import fill

    torch.set_num_threads(1)
    network = fill(load_variant(VARIANT)).requires_grad_(requires_grad=False)
    generator = PublishedGenerator(network)  # type: ignore[arg-type]
    rgb = read_picture(PICTURE).rgb
    passing = Thresholds(job["passing"]["iou"], job["passing"]["stability"], nms=job["nms"])
    start = time.process_time()
    found = generator.generate(rgb, job["points"], passing)
    spent = time.process_time() - start
    masks = [(each["predicted_iou"], each["rle"]) for each in found]
    return _answer(spent, job["points"] ** 2, masks, job)


def _answer(
    spent: float, prompts: int, masks: list[tuple[float, list[int]]], job: dict[str, Any]
) -> dict[str, Any]:
    return {
        "cpu_s": spent,
        "prompts": prompts,
        "kept": len(masks),
        "masks": masks if job["compared"] else [],
        "peak_mb": peak_bytes() / 2**20,
    }


def work(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job of `profiles.lab.everything.speed`."""
    return ours(job) if job["side"] == "ours" else published(job)


if __name__ == "__main__":
    sys.exit(child.serve(work))
