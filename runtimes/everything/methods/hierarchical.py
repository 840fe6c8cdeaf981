"""A coarse grid first; then the fine one, but for points that sure masks cover already.

Source: xinghaochen/TinySAM 11589bc, `tinysam/hierarchical_mask_generator.py`.
"""

from __future__ import annotations

import numpy as np

from exporter.bundle.preprocess import Bools, Bytes
from exporter.errors import RequestError
from runtimes.everything.asking import CropAsker, HeldLogits, Run
from runtimes.everything.methods import FILTERS, Method
from runtimes.everything.methods.grid import finished, without_duplicates
from runtimes.everything.segments import Segment
from runtimes.everything.steps.grids import Points, point_grid

_COARSER = 4
_AROUND = (-1, 0, 1)


def find(run: Run, image: Bytes) -> tuple[Segment, ...]:
    """See `Method`."""
    side = run.settings.points_per_side or 0
    if side < _COARSER:
        raise RequestError(f"hierarchical needs {_COARSER} points a side at least, not {side}")
    height, width = run.size
    coarse = point_grid(side // _COARSER) * np.array([[width, height]])
    whole = (0, 0, width, height)
    first, second = (CropAsker(run, whole, held) for held in (HeldLogits(), HeldLogits()))
    run.planned = len(coarse) * 2
    with run.until_stopped():
        run.set_image(image)
        first.ask(coarse)
        with run.stage("measure"):
            sure = covered(first)
        fine = second_points(sure, coarse, side)
        run.planned = len(coarse) + len(fine)
        second.ask(fine)
    kept = without_duplicates(run, [*second.found, *first.found])
    return finished(run, tuple(first.segments(kept)))


def covered(asker: CropAsker) -> Bools:
    """(H, W) where a mask that passed is sure: its logit is above `high_score_thresh`."""
    sure = np.zeros(asker.size, np.bool_)
    for candidate in asker.found:
        logits = candidate.logits()
        sure |= asker.upscaler(logits).mask(logits, asker.run.settings.high_score_thresh)
    return sure


def second_points(sure: Bools, coarse: Points, side: int) -> Points:
    """List the fine points that nothing covers, around each coarse one.

    Eight neighbours at strides of whole pixels, x outer; then two strides to the right, two down,
    and both, where the picture goes so far.

    Args:
        sure: (H, W) covered pixels.
        coarse: (n, 2) x, y in pixels.
        side: points a side of the fine grid.

    Returns:
        (m, 2) x, y in pixels, as they come back from shares of the picture.
    """
    height, width = sure.shape
    across, down = width // side, height // side
    around = [(x, y) for x in _AROUND for y in _AROUND if x or y]
    found = []
    for x, y in coarse.tolist():
        steps = list(around)
        right, below = x + across * 2 < width, y + down * 2 < height
        steps += [(2, by) for by in _AROUND] if right else []
        steps += [(by, 2) for by in _AROUND] if below else []
        steps += [(2, 2)] if right and below else []
        places = [(x + across * step[0], y + down * step[1]) for step in steps]
        found += [(px, py) for px, py in places if not sure[int(py), int(px)]]
    size = np.array([width, height])
    fine: Points = np.array(found, np.float64).reshape(-1, 2) / size * size
    return fine


METHOD = Method(find, (*FILTERS, "high_score_thresh"))
