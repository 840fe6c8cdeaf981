"""A click on every point of a grid, in the picture and in its crops.

Source: facebookresearch/segment-anything dca509f, `automatic_mask_generator.py`, and
facebookresearch/sam2 2b90b9f, `sam2/automatic_mask_generator.py`.
"""

from __future__ import annotations

import numpy as np

from exporter.bundle.preprocess import Bytes
from runtimes.everything.asking import Candidate, CropAsker, HeldLogits, Run
from runtimes.everything.cleaning import clean
from runtimes.everything.methods import FILTERS, Method
from runtimes.everything.segments import Segment
from runtimes.everything.steps.boxes import suppress
from runtimes.everything.steps.grids import Crop, Points, crops_of, layer_grids


def find(run: Run, image: Bytes) -> tuple[Segment, ...]:
    """See `Method`."""
    crops, grids = _plan(run)
    run.planned = sum(len(grids[layer]) for _, layer in crops)
    found: list[Segment] = []
    for crop, layer in crops:
        if not run.stopping.goes_on():
            break
        found += _of_crop(run, image, crop, grids[layer])
    return finished(run, between_crops(run, found, len(crops)))


def _plan(run: Run) -> tuple[tuple[tuple[Crop, int], ...], tuple[Points, ...]]:
    """Lay crops and grids."""
    options, (height, width) = run.settings, run.size
    layers = options.crop_n_layers
    crops = tuple(
        (crop, layer)
        for crop, layer in crops_of(height, width, layers, options.crop_overlap_ratio)
        if crop[0] < crop[2] and crop[1] < crop[3]  # of a pixel or two there are fewer crops
    )
    if options.points_per_side is not None:
        downscale = options.crop_n_points_downscale_factor
        return crops, layer_grids(options.points_per_side, layers, downscale)
    own = (options.grid(layer) for layer in range(layers + 1))
    return crops, tuple(points for points in own if points is not None)


def _of_crop(run: Run, image: Bytes, crop: Crop, grid: Points) -> list[Segment]:
    """Ask one crop and suppress its duplicates."""
    x0, y0, x1, y1 = crop
    asker = CropAsker(run, crop, HeldLogits())
    with run.until_stopped():
        run.set_image(image[y0:y1, x0:x1])
        asker.ask(grid * np.array([[x1 - x0, y1 - y0]]))
    return asker.segments(without_duplicates(run, asker.found))


def without_duplicates(run: Run, found: list[Candidate]) -> list[Candidate]:
    """Of masks whose boxes overlap, keep that of the best predicted IoU."""
    with run.stage("suppress"):
        boxes = np.array([each.measured.box for each in found], np.float32).reshape(-1, 4)
        scores = np.array([each.iou for each in found], np.float32)
        kept = suppress(boxes, scores, run.settings.box_nms_thresh)
    run.left.nms.append((len(found), len(kept)))
    return [found[at] for at in kept.tolist()]


def between_crops(run: Run, found: list[Segment], crops: int) -> tuple[Segment, ...]:
    """Of masks of several crops, keep those of the smallest."""
    if crops < 2 or not found:
        return tuple(found)
    with run.stage("suppress"):
        areas = np.array([each.crop_box[2] * each.crop_box[3] for each in found], np.float32)
        kept = suppress(_corners(found), np.float32(1) / areas, run.settings.crop_nms_thresh)
    run.left.nms.append((len(found), len(kept)))
    return tuple(found[at] for at in kept.tolist())


def _corners(found: list[Segment]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    sides = np.array([each.bbox for each in found], np.float32).reshape(-1, 4)
    sides[:, 2:] += sides[:, :2]
    return sides


def finished(run: Run, found: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Remove small regions, if that is asked for and SAM 2 has not done so in its own way."""
    area = run.settings.min_mask_region_area
    if area <= 0 or run.sam2 or not found:
        return found
    most = max(run.settings.box_nms_thresh, run.settings.crop_nms_thresh)
    with run.stage("clean"):
        cleaned = clean(found, area, most)
    run.left.nms.append((len(found), len(cleaned)))
    return cleaned


METHOD = Method(
    find,
    (
        *FILTERS,
        "crop_n_layers",
        "crop_overlap_ratio",
        "crop_n_points_downscale_factor",
        "point_grids",
        "multimask_output",
        "use_m2m",
        "generator",
        "components",
    ),
)
